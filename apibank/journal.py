"""The history of policies, written behind: a database that is down holds up no change."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge

from records.errors import LOST_DATABASE, REFUSED_BY_DATABASE

# More changes than this while the database is away, and the oldest go unrecorded.
_LONGEST: Final = 1000
_PAUSES: Final = (0.5, 1.0, 2.0, 5.0)
_LOG: Final = structlog.get_logger(__name__)

Write = Callable[[], Awaitable[None]]


class Journal:
    """Does writes one after the other, each again until the database takes it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._writes: deque[Write] = deque(maxlen=_LONGEST)
        self._there = asyncio.Event()
        self._pending = Gauge(
            "apibank_history_pending", "Writes of the policy history that wait for the database.", registry=registry
        )
        self._lost = Counter(
            "apibank_history_lost", "Changes that went unrecorded as the database was away.", registry=registry
        )

    def write(self, write: Write) -> None:
        """Do it as soon as the database takes it, after what came before."""
        if len(self._writes) == _LONGEST:
            self._lost.inc()
            _LOG.error("history_lost", waiting=_LONGEST)
        self._writes.append(write)
        self._pending.set(len(self._writes))
        self._there.set()

    @property
    def waiting(self) -> int:
        return len(self._writes)

    async def run(self, stop: asyncio.Event) -> None:
        """Until stopped; what is left then is tried once more."""
        stopping = asyncio.ensure_future(stop.wait())
        failures = 0
        try:
            while not stop.is_set():
                if self._writes:
                    failures = 0 if await self._next() else failures + 1
                pause = _PAUSES[min(failures, len(_PAUSES)) - 1] if failures else None
                if self._writes and not failures:
                    continue
                self._there.clear()
                waking = asyncio.ensure_future(asyncio.sleep(pause) if pause else self._there.wait())
                await asyncio.wait({stopping, waking}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
            while self._writes and await self._next():
                pass
        finally:
            stopping.cancel()

    def _lose(self, error: Exception) -> None:
        """A write that will never be done: those after it go on."""
        self._lost.inc()
        _LOG.error("history_lost", waiting=len(self._writes), error=type(error).__name__, why=str(error)[:500])

    async def _next(self) -> bool:
        write = self._writes[0]
        try:
            await write()
        except LOST_DATABASE as error:
            if not isinstance(error, REFUSED_BY_DATABASE):
                _LOG.warning("history_not_written", waiting=len(self._writes), error=type(error).__name__)
                return False
            self._lose(error)
        except Exception as error:  # noqa: BLE001 one write that cannot be done must not end the control plane
            self._lose(error)
        # While it was written the queue may have overflowed, and this one have gone.
        if self._writes and self._writes[0] is write:
            self._writes.popleft()
        self._pending.set(len(self._writes))
        return True
