"""As much of protobuf's wire format as a few short texts need (protobuf.dev/programming-guides/encoding).

protobuf's own messages take ten times as long to put so many small ones together.
"""

_LENGTH_DELIMITED = 2


def delimited(number: int, octets: bytes) -> bytes:
    """A text, octets or a message as field `number` (1 to 15) of the message around it."""
    length = len(octets)
    if length < 0x80:
        return bytes((number << 3 | _LENGTH_DELIMITED, length)) + octets
    head = bytearray((number << 3 | _LENGTH_DELIMITED,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + octets
