"""Tokens that nobody should take: any header, any payload, any signature."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from apibank.issuer.keys import KeyStore, SigningKey

Sign = Callable[[bytes], bytes]

# What marketing takes.
ISSUERS = {
    "customer": ("https://auth.waooaw.ai", "https://api.waooaw.ai"),
    "admin": ("https://admin.auth.waooaw.ai", "https://admin.api.waooaw.ai"),
}


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def compact(header: object, payload: object, sign: Sign) -> str:
    """Any header and payload (JSON values, or octets as they are) with the signature of what stands before it."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, payload)]
    text = ".".join(b64(part) for part in parts)
    return f"{text}.{b64(sign(text.encode()))}"


def hs256(secret: bytes) -> Sign:
    return lambda message: hmac.digest(secret, message, hashlib.sha256)


def rs256(key: RSAPrivateKey) -> Sign:
    return lambda message: key.sign(message, padding.PKCS1v15(), hashes.SHA256())


def claims(issuer: str = "customer", **changes: object) -> dict[str, object]:
    """A good caller of marketing; `changes` overrides any claim, and those that are `...` are left out."""
    now = int(time.time())
    name, audience = ISSUERS[issuer]
    good: dict[str, object] = {
        "iss": name,
        "aud": audience,
        "sub": f"attacker-{uuid.uuid4()}",
        "role": "customer",
        "tier": "business",
        "scopes": ["marketing:*"],
        "iat": now,
        "exp": now + 600,
        "jti": str(uuid.uuid4()),
        **changes,
    }
    return {claim: value for claim, value in good.items() if value is not ...}


class Forge:
    """Knows the development issuers' private keys, which nobody else does, and their public ones, which all do."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    @cached_property
    def _customer(self) -> SigningKey:
        return KeyStore(self._state_dir, "customer").load().current

    @cached_property
    def _admin(self) -> SigningKey:
        return KeyStore(self._state_dir, "admin").load().current

    @cached_property
    def strange_key(self) -> RSAPrivateKey:
        """A key of the attacker's own."""
        return generate_private_key(public_exponent=65537, key_size=2048)

    def key(self, issuer: str = "customer") -> SigningKey:
        return self._admin if issuer == "admin" else self._customer

    def public(self, encoding: Encoding, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
        """The customer issuer's public key."""
        return self.key().private.public_key().public_bytes(encoding, form)

    def header(self, issuer: str = "customer", **changes: object) -> dict[str, object]:
        """The header of a good token, changed; members that are `...` are left out."""
        good: dict[str, object] = {"alg": "RS256", "kid": self.key(issuer).kid, "typ": "at+jwt", **changes}
        return {name: value for name, value in good.items() if value is not ...}

    def token(self, header: Mapping[str, object] | None = None, issuer: str = "customer", **changes: object) -> str:
        """Signed by an issuer's key: good for marketing, but for the changes of its header and claims."""
        return compact(
            self.header(issuer, **(header or {})), claims(issuer, **changes), rs256(self.key(issuer).private)
        )
