"""Tokens that were found good a moment ago, so that an RSA verification is paid once per token and not per request."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from authz.facts import Facts
from authz.identity.jwt import VerifiedToken, still_holds

DEFAULT_CAPACITY: Final = 100_000
# Of tokens, as they are written: what is remembered of one takes one and a half to three times as much memory.
DEFAULT_OCTETS: Final = 80 * 1024 * 1024
DEFAULT_TTL: Final = 300.0


@dataclass(slots=True)
class _Entry:
    verified: VerifiedToken
    until: float
    octets: int


class VerifiedTokens:
    """A bounded memory of one policy version's verified tokens, by the hash of the whole token.

    It changes no decision: an entry ends at min(ttl, exp), and its key and the revocations are looked at every time.
    Only good tokens enter, so nobody without one can push others out; the oldest goes first, and what has ended goes
    when others come.
    """

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, ttl: float = DEFAULT_TTL, octets: int = DEFAULT_OCTETS
    ) -> None:
        """`capacity`: tokens, and `octets`: their lengths together, at most. `ttl` in seconds."""
        self._capacity = capacity
        self._ttl = ttl
        self._most_octets = octets
        self._entries: dict[bytes, _Entry] = {}
        # Beside the entries, since the first of a dictionary is hard to find where many have left it.
        self._order: deque[bytes] = deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        """The lengths of all the tokens that are remembered."""
        return self._octets

    def find(self, digest: bytes, facts: Facts, now: float) -> VerifiedToken | None:
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if now < entry.until and still_holds(entry.verified, facts, now):
            return entry.verified
        self._drop(digest)
        return None

    def remember(self, digest: bytes, verified: VerifiedToken, octets: int, now: float) -> None:
        """`octets`: the token's length."""
        until = min(now + self._ttl, verified.claims.expires_at)
        if until <= now or octets > self._most_octets:
            return
        self._drop(digest)
        while self._order and not self._has_room(octets, now):
            self._drop(self._order.popleft())
        self._entries[digest] = _Entry(verified, until, octets)
        self._order.append(digest)
        self._octets += octets

    def clear(self) -> None:
        """Forget all of them: each is verified again where it is shown again."""
        self._entries.clear()
        self._order.clear()
        self._octets = 0

    def _has_room(self, octets: int, now: float) -> bool:
        oldest = self._entries.get(self._order[0])
        if oldest is None or oldest.until <= now:
            return False
        return len(self._order) < self._capacity and self._octets + octets <= self._most_octets

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest, None)
        if entry is not None:
            self._octets -= entry.octets
