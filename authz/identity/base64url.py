"""base64url without padding (RFC 7515 §2), in its one canonical spelling."""

import binascii
from typing import Final

# `+` and `/` become NUL, which strict decoding refuses, as it does everything else outside the alphabet.
_TO_BASE64: Final = bytes.maketrans(b"-_+/=", b"+/\x00\x00\x00")
_ENDINGS: Final = {
    0: (b"", frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")),
    2: (b"==", frozenset(b"AQgw")),
    3: (b"=", frozenset(b"AEIMQUYcgkosw048")),
}


def decode(segment: bytes) -> bytes | None:
    """The octets, or None where the segment is empty, padded, or one of several spellings of the same octets.

    The last letter of a short group carries unused bits; unless they are zero, another text would decode to the same
    octets, and a signed text could be altered without breaking its signature.
    """
    ending = _ENDINGS.get(len(segment) % 4)
    if not segment or ending is None or segment[-1] not in ending[1]:
        return None
    try:
        return binascii.a2b_base64(segment.translate(_TO_BASE64) + ending[0], strict_mode=True)
    except binascii.Error:
        return None
