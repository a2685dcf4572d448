"""The sealed key of the break-glass credential, and the tokens that are signed with it: offline, with a passphrase.

The file is worth nothing without the passphrase: the private key is encrypted with AES-256-GCM under a key that scrypt
takes 128 MiB and a second to make of it. No process of the federation ever sees either.
"""

import base64
import json
import secrets
import uuid
from dataclasses import dataclass, field
from typing import Final

import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.identity.break_glass import NAMESPACE, REASON_CLAIM, REASON_FORM, ROLE, SUBJECT_PREFIX, TOKEN_TYPE
from authz.identity.keys import ed25519_key
from policy.access import BREAK_GLASS_SECONDS
from policy.kinds import Tier

DEFAULT_ISSUER: Final = "urn:apibank:break-glass"
DEFAULT_AUDIENCE: Final = "urn:apibank:gateway:platform"
SHORTEST_PASSPHRASE: Final = 16
_FORMAT: Final = "apibank break-glass key 1"
# RFC 7914 §2, at several times what is asked for interactive log-ins: this is done twice a year.
_SCRYPT: Final = {"n": 2**17, "r": 8, "p": 1}
_SALT_OCTETS: Final = 16
_NONCE_OCTETS: Final = 12


class SealError(Exception):
    """A key that cannot be sealed or unsealed; the text says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class BreakGlassKey:
    """An unsealed key. `issuer` and `audience` are the `iss` and `aud` that policy declares for it."""

    issuer: str
    audience: str
    private: Ed25519PrivateKey = field(repr=False)

    @property
    def kid(self) -> str:
        """The key's thumbprint, by which the gateways know it too."""
        return ed25519_key(self.private.public_key())[0]

    @property
    def public_pem(self) -> bytes:
        """What policy's `public_key_file` holds."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def token_header(self) -> dict[str, object]:
        return {"typ": TOKEN_TYPE, "kid": self.kid}


def make_key(issuer: str = DEFAULT_ISSUER, audience: str = DEFAULT_AUDIENCE) -> BreakGlassKey:
    """A new key."""
    return BreakGlassKey(issuer, audience, Ed25519PrivateKey.generate())


def seal(key: BreakGlassKey, passphrase: str) -> str:
    """The key as a text that only the passphrase opens. Raises SealError where the passphrase is a poor one."""
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise SealError(f"a passphrase has at least {SHORTEST_PASSPHRASE} characters: several words")
    salt, nonce = secrets.token_bytes(_SALT_OCTETS), secrets.token_bytes(_NONCE_OCTETS)
    about = {"format": _FORMAT, "issuer": key.issuer, "audience": key.audience, "kid": key.kid, "salt": _text(salt)}
    sealed = AESGCM(_wrapping_key(passphrase, salt)).encrypt(nonce, key.private.private_bytes_raw(), _bound(about))
    return json.dumps({**about, "nonce": _text(nonce), "sealed": _text(sealed)}, indent=1) + "\n"


def unseal(text: str, passphrase: str) -> BreakGlassKey:
    """The key in a sealed file's text. Raises SealError: not such a file, altered, or another passphrase."""
    try:
        document = json.loads(text)
        about = {name: str(document[name]) for name in ("format", "issuer", "audience", "kid", "salt")}
        salt, nonce, sealed = (base64.b64decode(document[name], validate=True) for name in ("salt", "nonce", "sealed"))
    except (ValueError, KeyError, TypeError) as error:
        raise SealError("that is not a sealed break-glass key") from error
    if about["format"] != _FORMAT or len(nonce) != _NONCE_OCTETS:
        raise SealError(f"that is not a sealed break-glass key of the format {_FORMAT!r}")
    try:
        octets = AESGCM(_wrapping_key(passphrase, salt)).decrypt(nonce, sealed, _bound(about))
    except InvalidTag as error:
        raise SealError("another passphrase, or the file was altered") from error
    return BreakGlassKey(about["issuer"], about["audience"], Ed25519PrivateKey.from_private_bytes(octets))


def mint_emergency(key: BreakGlassKey, *, name: str, reason: str, seconds: int, now: float) -> tuple[str, str]:
    """A token, and its `jti`. `name`: who will use it; `now`: seconds since the epoch. Raises SealError."""
    if not 0 < seconds <= BREAK_GLASS_SECONDS:
        raise SealError(f"for 1 second to {BREAK_GLASS_SECONDS // 60} minutes")
    if not REASON_FORM.fullmatch(reason):
        raise SealError("a reason has 10 to 100 printable ASCII characters: it stands in every line of the audit")
    if not name.isascii() or not name.isprintable() or not 0 < len(name) <= 64 or " " in name:
        raise SealError("a name has 1 to 64 ASCII characters without blanks")
    jti = str(uuid.uuid4())
    claims = {
        "iss": key.issuer,
        "aud": key.audience,
        "sub": SUBJECT_PREFIX + name,
        "role": ROLE,
        "tier": Tier.INTERNAL.value,
        "scopes": [f"{NAMESPACE}*"],
        REASON_CLAIM: reason,
        "jti": jti,
        "iat": int(now),
        "exp": int(now) + seconds,
    }
    payload = json.dumps(claims, separators=(",", ":")).encode()
    return jwt.PyJWS().encode(payload, key.private, "EdDSA", key.token_header), jti


def _wrapping_key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt, 32, **_SCRYPT).derive(passphrase.encode())


def _bound(about: dict[str, str]) -> bytes:
    # What the file says in the clear is authenticated with what it hides.
    return json.dumps(about, sort_keys=True, separators=(",", ":")).encode()


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
