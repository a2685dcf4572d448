"""Which resources may be shown to a person."""

from __future__ import annotations

import re
from typing import Final

from xds.snapshot import SECRET

# A private key in PEM, and PKCS #12, which may hold one and cannot do without this object identifier (RFC 7292 §4).
_MARKS: Final = (b"PRIVATE KEY-----", b"\x2a\x86\x48\x86\xf7\x0d\x01\x07")
# Keys that sign, in a JSON Web Key Set (RFC 7518 §6): the whole of a symmetric one, the private part of others.
_JSON_KEY: Final = b"kty"
_SIGNING: Final = re.compile(rb'\\?"kty\\?"\s*:\s*\\?"oct\\?"|\\?"d\\?"\s*:\s*\\?"[A-Za-z0-9_-]{16,}')


def showable(type_url: str, body: bytes) -> bool:
    """Not a secret, and nothing that holds a key in its own fields. Keys in files are only named, and so may be."""
    if type_url == SECRET or any(mark in body for mark in _MARKS):
        return False
    return _JSON_KEY not in body or _SIGNING.search(body) is None
