"""One process's side of the versions: look, reload, say so."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from records.fact_versions import FactVersions

POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 2.0


class Facts(Protocol):
    """Something that a process decides by and that changes in the database."""

    async def reload(self) -> int:
        """Read everything anew; the version that was read. The version is read first, or in the same snapshot."""

    def confirm(self) -> None:
        """What was read last is what the database says now."""


class FactFollower:
    """Keeps one process's facts current, and its report of them."""

    def __init__(
        self,
        versions: FactVersions,
        facts: Facts,
        *,
        instance: str,
        gateway: str,
        name: str,
        clock: Callable[[], float],
        lost: Callable[[Exception], None],
    ) -> None:
        """`instance` names the process and stays the same when it is started again; `clock` gives seconds that only
        grow; `lost` is told of each look that failed, because the database did not answer."""
        self._versions = versions
        self._facts = facts
        self._instance = instance
        self._gateway = gateway
        self._name = name
        self._clock = clock
        self._lost = lost
        self._loaded = -1
        self._reported = -1
        self._reported_at = 0.0

    async def step(self) -> None:
        """Look once. Raises what the database raises."""
        version = await self._versions.current(self._name)
        if version != self._loaded:
            self._loaded = await self._facts.reload()
        self._facts.confirm()
        now = self._clock()
        if self._loaded != self._reported or now - self._reported_at >= HEARTBEAT_SECONDS:
            # Only after the facts are in use: a report is a promise.
            await self._versions.report(self._instance, self._gateway, self._name, self._loaded)
            self._reported, self._reported_at = self._loaded, now

    async def run(self, stop: asyncio.Event) -> None:
        """Look twice a second until stopped; then say that nobody needs to wait for this process any more."""
        while not stop.is_set():
            with self._telling():
                await self.step()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_SECONDS)
        with self._telling():
            await self._versions.withdraw(self._instance)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            self._lost(error)
