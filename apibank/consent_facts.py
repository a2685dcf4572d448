"""Parents' consents on their way from the records to a gateway's decisions, where its policy asks for ages."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from authz.facts import Consent, Consents, FactsBoard
from policy.model import Gateway
from policy.rules import AgeRule
from records.consents import ConsentRecord, ConsentRecords
from records.fact_follower import POLL_SECONDS, FactFollower
from records.fact_versions import FRESH_SECONDS


class ConsentsOnBoard:
    """The consents in force, put where a gateway's decisions read them (the port `records.fact_follower.Facts`).

    Unlike revocations they are not used when they cannot be confirmed: a parent's no must be heard.
    """

    def __init__(self, records: ConsentRecords, board: FactsBoard, clock: Callable[[], float] = time.time) -> None:
        self._records = records
        self._board = board
        self._clock = clock
        self._latest: Consents | None = None

    async def reload(self) -> int:
        """Read every consent in force; the version that was read."""
        held = await self._records.in_force(datetime.fromtimestamp(self._clock(), UTC))
        by_child = {child: tuple(map(_as_fact, consents)) for child, consents in held.by_child.items()}
        self._latest = Consents(by_child, self._clock() + FRESH_SECONDS)
        return held.version

    def confirm(self) -> None:
        """The consents are current at this moment, and usable for as long as whoever changes them waits for us."""
        if self._latest is not None:
            self._latest = Consents(self._latest.by_child, self._clock() + FRESH_SECONDS)
            self._board.put_consents(self._latest)


class FollowedOnDemand:
    """A follower that looks only once somebody needs what it follows: most gateways ask nobody's age."""

    def __init__(self, follower: FactFollower, needed: Callable[[], bool]) -> None:
        self._follower = follower
        self._needed = needed

    async def step(self) -> None:
        """Look once, where that is needed. Raises what the database raises."""
        if self._needed():
            await self._follower.step()

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until stopped, from the moment on when it is needed."""
        while not stop.is_set() and not self._needed():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_SECONDS)
        if not stop.is_set():
            await self._follower.run(stop)


def ask_ages(policies: Iterable[Gateway]) -> bool:
    """Whether any of the policies has a rule that may need consents."""
    return any(isinstance(rule, AgeRule) for policy in policies for rule in policy.rules.values())


def _as_fact(record: ConsentRecord) -> Consent:
    return Consent(
        consent_id=record.consent_id,
        child=record.child,
        parent=record.parent,
        purposes=record.purposes,
        granted_at=record.granted_at.timestamp(),
        expires_at=record.expires_at.timestamp(),
    )
