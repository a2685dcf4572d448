"""One process's side of the versions: look, reload, say so."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from records.fact_versions import FRESH_SECONDS, GONE_SECONDS, FactVersions

POLL_SECONDS: Final = 0.5
HEARTBEAT_SECONDS: Final = 2.0
# What is confirmed is used for FRESH_SECONDS, and must not outlive the time for which others wait for this process.
_CONFIRM_WITHIN: Final = GONE_SECONDS - FRESH_SECONDS
# Reported before anything is loaded: earlier than every version, so that whoever changes something waits.
_NOTHING: Final = -1


class Facts(Protocol):
    """Something that a process decides by and that changes in the database."""

    async def reload(self) -> int:
        """Read everything anew; the version that was read. The version is read first, or in the same snapshot."""

    def confirm(self) -> None:
        """What was read last may be decided by for FRESH_SECONDS from now, and no longer without another word."""


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
        grow; `lost` is told of each look that failed, because the database did not answer or what it holds cannot be
        read."""
        self._versions = versions
        self._facts = facts
        self._instance = instance
        self._gateway = gateway
        self._name = name
        self._clock = clock
        self._lost = lost
        self._loaded = _NOTHING
        self._in_use = _NOTHING
        self._reported = _NOTHING
        self._reported_at = -GONE_SECONDS

    async def step(self) -> None:
        """Look once. Raises what the database raises."""
        # A sign of life first: from then on a change waits for this process, so that the look below cannot miss one.
        if self._clock() - self._reported_at >= HEARTBEAT_SECONDS:
            await self._report()
        if await self._versions.current(self._name) != self._loaded:
            self._loaded = await self._facts.reload()
        # A look that took long, or a process that was stopped meanwhile, confirms nothing; the next look will.
        if self._clock() - self._reported_at <= _CONFIRM_WITHIN:
            self._facts.confirm()
            self._in_use = self._loaded
            if self._in_use != self._reported:
                await self._report()

    async def _report(self) -> None:
        # The time is taken before, so that this process never believes to have been heard of later than it was.
        version, now = self._in_use, self._clock()
        await self._versions.report(self._instance, self._gateway, self._name, version)
        self._reported, self._reported_at = version, now

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
        except Exception as error:  # noqa: BLE001 what cannot be read is not confirmed, and ends nothing else
            self._lost(error)
