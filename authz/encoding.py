"""As much of protobuf's wire format as a few short texts need (protobuf.dev/programming-guides/encoding).

protobuf's own messages take ten times as long to put so many small ones together.
"""

from functools import lru_cache
from typing import Final

_LENGTH_DELIMITED: Final = 2


# The tag and the length of every short field, by number and length.
_HEADS: Final = [[bytes((number << 3 | _LENGTH_DELIMITED, each)) for each in range(0x80)] for number in range(16)]


def varint(number: int, value: int) -> bytes:
    """A positive integer, or an enum's value, as field `number` (1 to 15)."""
    octets = bytearray((number << 3,))
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def delimited(number: int, octets: bytes) -> bytes:
    """A text, octets or a message as field `number` (1 to 15) of the message around it."""
    length = len(octets)
    if length < 0x80:
        return _HEADS[number][length] + octets
    head = bytearray((number << 3 | _LENGTH_DELIMITED,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head) + octets


# Of the headers of a limit all but one say the same to many: what the limits are, and small numbers.
@lru_cache(maxsize=4096)
def header_option(name: str, value: str) -> bytes:
    """A header as Envoy is told it (envoy.config.core.v3.HeaderValueOption)."""
    return delimited(1, delimited(1, name.encode()) + delimited(2, value.encode()))
