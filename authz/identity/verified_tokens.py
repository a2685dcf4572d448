"""Tokens that were found good a moment ago, so that an RSA verification is paid once per token and not per request."""

from dataclasses import dataclass
from typing import Final

from authz.facts import Facts
from authz.identity.jwt import VerifiedToken, still_holds

DEFAULT_CAPACITY: Final = 100_000
DEFAULT_TTL: Final = 300.0


@dataclass(slots=True)
class _Entry:
    verified: VerifiedToken
    until: float


class VerifiedTokens:
    """A bounded memory of one policy version's verified tokens, by the hash of the whole token.

    It changes no decision: an entry ends at min(ttl, exp), and its key and the revocations are looked at every time.
    Only good tokens enter, so nobody without one can push others out; the oldest goes first.
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY, ttl: float = DEFAULT_TTL) -> None:
        self._capacity = capacity
        self._ttl = ttl
        self._entries: dict[bytes, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, digest: bytes, facts: Facts, now: float) -> VerifiedToken | None:
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now < entry.until and still_holds(entry.verified, facts, now):
            return entry.verified
        del self._entries[digest]
        return None

    def remember(self, digest: bytes, verified: VerifiedToken, now: float) -> None:
        until = min(now + self._ttl, verified.claims.expires_at)
        if until <= now:
            return
        while len(self._entries) >= self._capacity:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = _Entry(verified, until)
