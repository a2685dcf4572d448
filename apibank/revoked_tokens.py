"""Revocations on their way from the records to a gateway's decisions."""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from authz.facts import FactsBoard, Revocations
from records.revocations import Covered, TokenRevocations


class RevocationsOnBoard:
    """Revoked tokens, put where a gateway's decisions read them (the port `records.fact_follower.Facts`).

    A list that cannot be confirmed stays in use: without its database a gateway goes on to serve tokens, and what it
    may miss ends with the token's own life (ADR 9).
    """

    def __init__(
        self, revocations: TokenRevocations, board: FactsBoard, clock: Callable[[], float] = time.time
    ) -> None:
        self._revocations = revocations
        self._board = board
        self._clock = clock
        self._entries = _Entries()

    async def reload(self) -> int:
        """Read every entry that is in force; the version that was read."""
        entries = _Entries()
        version = await self._revocations.each(datetime.fromtimestamp(self._clock(), UTC), entries.add)
        self._entries = entries
        self._board.put_revocations(Revocations(entries.tokens, entries.subjects))
        return version

    def confirm(self) -> None:
        """The list is current. What is over leaves the memory too."""
        self._entries.forget(self._clock())


class _Entries:
    """What decisions look up, and which of it ends when.

    What has ended is taken out of what they look up, and not that made anew: there may be a hundred thousand of them,
    one of which ends at every look. It changes no decision, as no token that it covers is accepted for its age.
    """

    def __init__(self) -> None:
        self.tokens: set[tuple[str, str]] = set()
        self.subjects: dict[tuple[str, str], float] = {}
        # In the order of their ends. A subject is forgotten with the last of its entries.
        self._ends: deque[tuple[float, tuple[str, str], bool]] = deque()
        self._last: dict[tuple[tuple[str, str], bool], float] = {}

    def add(self, entry: Covered) -> None:
        """Those that end first are added first."""
        until = entry.until.timestamp()
        if entry.jti is not None:
            named, by_subject = (entry.issuer, entry.jti), False
            self.tokens.add(named)
        elif entry.subject is not None and entry.issued_until is not None:
            named, by_subject = (entry.issuer, entry.subject), True
            self.subjects[named] = max(entry.issued_until.timestamp(), self.subjects.get(named, float("-inf")))
        else:
            return
        self._ends.append((until, named, by_subject))
        self._last[named, by_subject] = until

    def forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, named, by_subject = self._ends.popleft()
            if self._last.get((named, by_subject)) != until:
                continue
            del self._last[named, by_subject]
            if by_subject:
                self.subjects.pop(named, None)
            else:
                self.tokens.discard(named)
