"""Keys that verify tokens, and how a key set is read (RFC 7517, RFC 7518, RFC 8037)."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd, isqrt, prod
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import JsonValue

from authz.identity import base64url
from policy.access import Algorithm, Issuer

MAX_KEYS: Final = 32
MAX_KID: Final = 200
MIN_SECRET: Final = 32
# Below 2048 bits RSA is broken (RFC 7518 §3.3); above 4096 a verification costs a denial of service.
RSA_BITS: Final = range(2048, 4097)
# NIST SP 800-89 §5.3.3: what nobody's modulus is divided by unless by mistake, or on purpose.
_SMALL_PRIMES: Final = prod(each for each in range(2, 752) if all(each % one for one in range(2, isqrt(each) + 1)))
_P256_OCTETS: Final = 32

# The points of small order on Curve25519 (RFC 8725 §3.4), with both spellings of y for those below 2^255 - 19, and
# without the sign of x.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)

_PKCS1: Final = padding.PKCS1v15()
_SHA256: Final = hashes.SHA256()
_ECDSA: Final = ec.ECDSA(_SHA256)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key with the one algorithm that it is for; equal when the key material is equal."""

    algorithm: Algorithm
    fingerprint: bytes
    _key: PublicKey | bytes = field(compare=False, repr=False)

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` is this key's. Never raises."""
        key = self._key
        if isinstance(key, bytes):
            return hmac.compare_digest(hmac.digest(key, message, "sha256"), signature)
        try:
            if isinstance(key, rsa.RSAPublicKey):
                key.verify(signature, message, _PKCS1, _SHA256)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                if len(signature) != 2 * _P256_OCTETS:
                    return False
                r = int.from_bytes(signature[:_P256_OCTETS], "big")
                s = int.from_bytes(signature[_P256_OCTETS:], "big")
                key.verify(encode_dss_signature(r, s), message, _ECDSA)
            else:
                key.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class KeySet:
    """What one issuer signs with. `keys` by `kid`; `secrets` of a symmetric issuer have no kid.

    `usable_until`: seconds since the epoch; a set that could not be refreshed for too long verifies nothing.
    """

    keys: Mapping[str, VerificationKey] = field(default_factory=dict)
    secrets: tuple[VerificationKey, ...] = ()
    usable_until: float = float("inf")

    def candidates(self, kid: str | None) -> tuple[VerificationKey, ...]:
        if self.secrets:
            return self.secrets
        key = self.keys.get(kid) if kid is not None else None
        return () if key is None else (key,)

    def holds(self, kid: str | None, key: VerificationKey) -> bool:
        """Whether a key that verified something earlier is still the issuer's."""
        if kid is not None and not self.secrets:
            # The same object, unless a refresh has read it again.
            held = self.keys.get(kid)
            return held is key or held == key
        return key in self.candidates(kid)


def source_of(name: str, issuer: Issuer) -> str:
    """Under what name an issuer's keys are kept: another one whenever they come from elsewhere or are for other tokens.

    Policies that come after each other, or stand beside each other, so never verify one's tokens with another's keys,
    and share them where nothing but times and figures differs. `name`: policy's name of the issuer.
    """
    jwks = issuer.jwks
    written = None if jwks is None or jwks.keys is None else [dict(key) for key in jwks.keys]
    url = None if jwks is None else jwks.url
    files = issuer.secret_file, issuer.public_key_file
    source = json.dumps([issuer.issuer, issuer.algorithm, issuer.break_glass, url, written, *files], sort_keys=True)
    return f"{name}#{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def symmetric_key(secret: bytes) -> VerificationKey:
    """A secret of a symmetric issuer. ValueError when it has fewer octets than the hash (RFC 7518 §3.2)."""
    if len(secret) < MIN_SECRET:
        raise ValueError(f"a secret for HS256 has at least {MIN_SECRET} octets")
    return VerificationKey(Algorithm.HS256, hashlib.sha256(secret).digest(), secret)


def ed25519_key(key: ed25519.Ed25519PublicKey) -> tuple[str, VerificationKey]:
    """A key with its thumbprint (RFC 7638, RFC 8037 §2), which is its kid where nobody gave it another."""
    x = urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode()
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}'
    kid = urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    return kid, VerificationKey(Algorithm.EDDSA, _fingerprint(key), key)


def _fingerprint(key: PublicKey) -> bytes:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _octets(entry: Mapping[str, JsonValue], name: str) -> bytes:
    text = entry.get(name)
    octets = base64url.decode(text.encode("ascii")) if isinstance(text, str) and text.isascii() else None
    if octets is None:
        raise ValueError(f"{name} is not base64url")
    return octets


def _rsa(entry: Mapping[str, JsonValue]) -> PublicKey:
    exponent = int.from_bytes(_octets(entry, "e"), "big")
    modulus = int.from_bytes(_octets(entry, "n"), "big")
    if modulus.bit_length() not in RSA_BITS:
        raise ValueError(f"an RSA key has {RSA_BITS.start} to {RSA_BITS.stop - 1} bits")
    if gcd(modulus, _SMALL_PRIMES) != 1:
        raise ValueError("the modulus has a small factor, so that anybody can sign")
    if exponent < 65537 or exponent > 2**32 or exponent % 2 == 0:
        raise ValueError("the exponent is not an odd number from 65537 to 2^32")
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _p256(entry: Mapping[str, JsonValue]) -> PublicKey:
    if entry.get("crv") != "P-256":
        raise ValueError("ES256 takes a key on P-256")
    x, y = (_octets(entry, name) for name in ("x", "y"))
    if len(x) != _P256_OCTETS or len(y) != _P256_OCTETS:
        raise ValueError("coordinates of P-256 have 32 octets")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
    return numbers.public_key()


def _ed25519(entry: Mapping[str, JsonValue]) -> PublicKey:
    if entry.get("crv") != "Ed25519":
        raise ValueError("EdDSA takes a key on Ed25519")
    octets = _octets(entry, "x")
    if octets[:-1] + bytes([octets[-1] & 0x7F]) in _SMALL_ORDER:
        raise ValueError("the key is a point of small order, under which anybody can sign")
    return ed25519.Ed25519PublicKey.from_public_bytes(octets)


_READERS: Final = {
    Algorithm.RS256: ("RSA", _rsa),
    Algorithm.ES256: ("EC", _p256),
    Algorithm.EDDSA: ("OKP", _ed25519),
}


def _read_key(entry: JsonValue, algorithm: Algorithm) -> tuple[str, VerificationKey]:
    if not isinstance(entry, Mapping):
        raise TypeError("a key is an object")
    kid = entry.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= MAX_KID:
        raise ValueError(f"a key has a kid of 1 to {MAX_KID} characters")
    kind, reader = _READERS[algorithm]
    if entry.get("kty") != kind:
        raise ValueError(f"{algorithm} takes keys of type {kind}")
    if entry.get("use", "sig") != "sig":
        raise ValueError("the key is not for signatures")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("the key is not for verification")
    if entry.get("alg", algorithm.value) != algorithm.value:
        raise ValueError(f"the key is not for {algorithm}")
    if "d" in entry or "k" in entry:
        raise ValueError("the set publishes a private key")
    key = reader(entry)
    return kid, VerificationKey(algorithm, _fingerprint(key), key)


def read_keys(entries: Sequence[JsonValue], algorithm: Algorithm) -> tuple[dict[str, VerificationKey], list[str]]:
    """The usable keys by kid, and why each of the others is not one; never raises.

    A kid that names two different keys names none: which one signed could not be told (RFC 7517 §4.5).
    """
    keys: dict[str, VerificationKey] = {}
    refused: list[str] = []
    contested: set[str] = set()
    for entry in entries[:MAX_KEYS]:
        try:
            kid, key = _read_key(entry, algorithm)
        except (ValueError, TypeError) as error:
            refused.append(str(error))
            continue
        if keys.setdefault(kid, key) != key:
            contested.add(kid)
    for kid in contested:
        del keys[kid]
        refused.append("a kid names two keys")
    if len(entries) > MAX_KEYS:
        refused.append(f"keys after the first {MAX_KEYS}")
    return keys, refused
