"""Signing keys, kept in the state directory so that commands sign offline with the keys that the issuer publishes.

Always two live keys: `current` signs, `next` is published ahead of its turn, so that a rotation needs no moment in
which a gateway meets a key it has not seen. A retired key stays published until its last token has expired.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, TypedDict

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_encode
from pydantic import JsonValue

from apibank.issuer.realms import ACCESS_TOKEN_SECONDS
from apibank.private_files import private_directory, write_private

ALGORITHM: Final = "RS256"
_BITS: Final = 2048
# The largest difference of clocks that a gateway may forgive (policy.access.Issuer).
_LEEWAY_SECONDS: Final = 60

Jwk = Mapping[str, JsonValue]


class _StoredRetired(TypedDict):
    jwk: dict[str, JsonValue]
    until: float


class _Stored(TypedDict):
    current: str
    next: str
    retired: list[_StoredRetired]


class SigningKey:
    """An RSA key with its thumbprint as `kid` (RFC 7638)."""

    def __init__(self, pem: str) -> None:
        self.pem = pem

    @classmethod
    def generate(cls) -> "SigningKey":
        private = generate_private_key(public_exponent=65537, key_size=_BITS)
        encoded = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(encoded.decode())

    @cached_property
    def private(self) -> RSAPrivateKey:
        # The file is ours and private; checking the primes again takes longer than signing.
        key = serialization.load_pem_private_key(self.pem.encode(), None, unsafe_skip_rsa_key_validation=True)
        assert isinstance(key, RSAPrivateKey)
        return key

    @cached_property
    def jwk(self) -> Jwk:
        """The public half (RFC 7517)."""
        parts = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        required = {name: parts[name] for name in ("e", "kty", "n")}
        digest = hashes.Hash(hashes.SHA256())
        digest.update(json.dumps(required, sort_keys=True, separators=(",", ":")).encode())
        kid = base64url_encode(digest.finalize()).decode()
        return {**required, "kid": kid, "alg": ALGORITHM, "use": "sig"}

    @property
    def kid(self) -> str:
        return str(self.jwk["kid"])


@dataclass(frozen=True, slots=True)
class KeyRing:
    """An issuer's keys at one moment; retired ones with the time (POSIX seconds) until which they are published."""

    current: SigningKey
    next: SigningKey
    retired: tuple[tuple[Jwk, float], ...] = ()

    def jwks(self, now: float) -> dict[str, list[Jwk]]:
        """The published set."""
        kept = [jwk for jwk, until in self.retired if until > now]
        return {"keys": [self.current.jwk, self.next.jwk, *kept]}

    def rotated(self, now: float) -> "KeyRing":
        """The next key's turn; the current one is retired for as long as its tokens may live."""
        until = now + ACCESS_TOKEN_SECONDS + _LEEWAY_SECONDS
        kept = tuple((jwk, end) for jwk, end in self.retired if end > now)
        return KeyRing(self.next, SigningKey.generate(), (*kept, (self.current.jwk, until)))


class KeyStore:
    """One issuer's keys in `state_dir`/issuer/NAME.json."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self._path = state_dir / "issuer" / f"{name}.json"
        self._known: tuple[tuple[int, int], KeyRing] | None = None

    def ensure(self) -> KeyRing:
        """The keys, made now where there are none; of several who ask at once, one makes them."""
        with self._locked():
            if not self._path.exists():
                self._write(KeyRing(SigningKey.generate(), SigningKey.generate()))
        return self.load()

    def load(self) -> KeyRing:
        """The keys as the file has them now; another process may have rotated them. Raises FileNotFoundError."""
        state = self._path.stat()
        seen = (state.st_ino, state.st_mtime_ns)
        if self._known is None or self._known[0] != seen:
            self._known = (seen, self._read())
        return self._known[1]

    def rotate(self, now: float) -> KeyRing:
        """Retire the current key, in the file and so for every process. Raises FileNotFoundError."""
        with self._locked():
            ring = self._read().rotated(now)
            self._write(ring)
        return ring

    @contextmanager
    def _locked(self) -> Iterator[None]:
        private_directory(self._path.parent.parent)
        private_directory(self._path.parent)
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> KeyRing:
        stored: _Stored = json.loads(self._path.read_text(encoding="utf-8"))
        retired = tuple((one["jwk"], one["until"]) for one in stored["retired"])
        return KeyRing(SigningKey(stored["current"]), SigningKey(stored["next"]), retired)

    def _write(self, ring: KeyRing) -> None:
        retired: list[_StoredRetired] = [{"jwk": dict(jwk), "until": until} for jwk, until in ring.retired]
        stored: _Stored = {"current": ring.current.pem, "next": ring.next.pem, "retired": retired}
        write_private(self._path, json.dumps(stored, indent=1).encode())
