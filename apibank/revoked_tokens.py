"""Revocations on their way from the records to a gateway's decisions."""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from authz.facts import FactsBoard, Revocations
from records.revocations import Revocation, TokenRevocations


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
        self._entries: Sequence[Revocation] = ()
        self._first_end = float("inf")

    async def reload(self) -> int:
        """Read every entry that is in force; the version that was read."""
        self._entries, version = await self._revocations.in_force(datetime.fromtimestamp(self._clock(), UTC))
        self._put()
        return version

    def confirm(self) -> None:
        """The list is current. What is over leaves the memory too."""
        if self._clock() >= self._first_end:
            now = self._clock()
            self._entries = [entry for entry in self._entries if entry.until.timestamp() > now]
            self._put()

    def _put(self) -> None:
        self._first_end = min((entry.until.timestamp() for entry in self._entries), default=float("inf"))
        self._board.put_revocations(_as_facts(self._entries))


def _as_facts(entries: Sequence[Revocation]) -> Revocations:
    subjects: dict[tuple[str, str], float] = {}
    for entry in entries:
        if entry.subject is not None and entry.issued_until is not None:
            subject = entry.issuer, entry.subject
            subjects[subject] = max(entry.issued_until.timestamp(), subjects.get(subject, 0.0))
    tokens = frozenset((entry.issuer, entry.jti) for entry in entries if entry.jti is not None)
    return Revocations(tokens, subjects)
