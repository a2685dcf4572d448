"""Which resources may be shown to a person."""

from __future__ import annotations

import re
from typing import Final

from xds.snapshot import SECRET

# A private key in PEM; one in PKCS #12, which cannot do without this object identifier (RFC 7292 §4); and keys that
# sign, in a JSON Web Key Set (RFC 7518 §6).
_KEYS: Final = re.compile(
    rb"PRIVATE KEY-----"
    rb"|\x2a\x86\x48\x86\xf7\x0d\x01\x07"
    rb'|\\?"kty\\?"\s*:\s*\\?"oct\\?"'
    rb'|\\?"d\\?"\s*:\s*\\?"[A-Za-z0-9_-]{16,}'
)


def showable(type_url: str, body: bytes) -> bool:
    """Not a secret, and nothing that holds a key in its own fields. Keys in files are only named, and so may be."""
    return type_url != SECRET and _KEYS.search(body) is None
