"""Events on their way from the spool to the database: in order, again and again until they are there."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson
import structlog
from sqlalchemy.exc import DataError

from records.audit_entry import AuditEntry, storable
from records.audit_figures import AuditFigures
from records.audit_log import AuditLog, ChainEnd
from records.audit_spool import Spool, SpoolBatch
from records.errors import REFUSED_BY_DATABASE

_LOG: Final = structlog.get_logger(__name__)
_BATCH: Final = 500
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0


class AuditDelivery:
    """Stores what one spool holds. A batch leaves the spool when its rows are committed, and not before."""

    def __init__(
        self,
        spool: Spool,
        log: AuditLog,
        figures: AuditFigures,
        *,
        on_stored: Callable[[ChainEnd], object] = lambda _: None,
    ) -> None:
        """`on_stored` is told where a chain ends now."""
        self._spool = spool
        self._log = log
        self._figures = figures
        self._on_stored = on_stored
        self._more = asyncio.Event()
        # What was counted of a batch that could not be stored is not counted again when it is read again.
        self._counted: SpoolBatch | None = None

    def wake(self) -> None:
        """There is more in the spool."""
        self._more.set()

    async def run(self) -> None:
        """Deliver until cancelled. While the database is away, it is asked again after ever longer pauses."""
        pause = _SHORTEST_PAUSE
        while True:
            self._more.clear()
            try:
                await self.deliver_all()
                pause = _SHORTEST_PAUSE
                await self._more.wait()
            except Exception as error:  # noqa: BLE001 whatever keeps events from the database must not end this loop
                self._figures.failures += 1
                # Its type alone: its text may hold what was to be written.
                _LOG.warning("audit_not_stored", error=type(error).__name__, spool_bytes=self._spool.bytes_on_disk)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def deliver_all(self) -> None:
        """Store what waits now and what comes meanwhile. Raises what the database or the disk raises."""
        while (batch := await asyncio.to_thread(self._spool.read, _BATCH)) is not None:
            await self._deliver(batch)

    async def _deliver(self, batch: SpoolBatch) -> None:
        self._count_flaws(batch)
        entries = {record: _entry(record) for record in batch.records}
        good = [one for one in entries.values() if one is not None]
        try:
            ends = await self._log.write(good)
        except REFUSED_BY_DATABASE:
            ends = await self._one_by_one(good)
        for record in [one for one, entry in entries.items() if entry is None]:
            await self._set_aside(record, "unreadable")
        await asyncio.to_thread(self._spool.stored, batch)
        self._counted = None
        self._figures.stored += len(good)
        for end in ends.values():
            self._on_stored(end)

    async def _one_by_one(self, entries: Sequence[AuditEntry]) -> Mapping[str, ChainEnd]:
        """One that the database will never take must not keep the others from it.

        A conflict is no fault of an event (its name is known, its place is looked up): ids that a restored dump has
        taken already, say. It is tried again like anything else that keeps all of them away.
        """
        ends: dict[str, ChainEnd] = {}
        for entry in entries:
            try:
                ends.update(await self._log.write([entry]))
            except DataError as error:
                await self._set_aside(orjson.dumps(entry), type(error).__name__)
                self._figures.stored -= 1
        return ends

    async def _set_aside(self, record: bytes, why: str) -> None:
        await asyncio.to_thread(self._spool.set_aside, record)
        self._figures.set_aside += 1
        _LOG.error("audit_event_set_aside", why=why, folder=str(self._spool.folder))

    def _count_flaws(self, batch: SpoolBatch) -> None:
        if batch == self._counted or not (batch.torn or batch.damaged):
            return
        self._counted = batch
        self._figures.torn += batch.torn
        self._figures.damaged += batch.damaged
        _LOG.error("audit_spool_damaged", file=str(batch.path), torn=batch.torn, damaged=batch.damaged)


def _entry(record: bytes) -> AuditEntry | None:
    """A record as it was; None where it is none of ours, although its checksum is good."""
    try:
        fields = orjson.loads(record)
        return storable(AuditEntry(**{**fields, "timestamp": datetime.fromisoformat(fields["timestamp"])}))
    except (ValueError, TypeError, KeyError):
        return None
