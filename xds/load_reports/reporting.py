"""The life of one stream of load reports: the proxy is told how often to report, and ends if it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from xds.admission import ServerLimits
from xds.load_reports.load import Report
from xds.load_reports.reports import LoadReports
from xds.protocol.messages import Node

_RENAMED: Final = "the stream belongs to another node"
# Of this many reports the proxy may leave out all but one, however rarely it shall report.
_REPORTS_MISSED: Final = 3


class Reporting:
    """One proxy's stream. `clock` is in seconds, from any moment."""

    def __init__(self, reports: LoadReports, node: Node, limits: ServerLimits, clock: Callable[[], float]) -> None:
        self.wake = asyncio.Event()
        self._reports = reports
        self._limits = limits
        self._clock = clock
        self._heard = clock()
        self._stalled = False
        self._reporter = reports.join(node, self.wake.set)

    def take(self, report: Report) -> str:
        """What the proxy has said; why its stream must end for that, "" if it need not."""
        node = self._reporter.node
        if report.node and report.node.id and (report.node.id, report.node.cluster) != (node.id, node.cluster):
            return _RENAMED
        self._heard = self._clock()
        if not self._stalled:
            self._reports.add(self._reporter, report.loads)
        return ""

    async def run(self, reader: asyncio.Task[str], write: Callable[[float], Awaitable[None]]) -> bool:
        """Tell the interval at first and whenever it changes, until the stream ends; True if it is for its silence."""
        told = 0.0
        while not (reader.done() or self._reporter.closed or self._stalled):
            self.wake.clear()
            interval = self._reports.interval(self._reporter.node.cluster)
            if interval != told:
                await self._write(interval, write)
                told = interval
                # What it was told before says nothing of when it would have reported.
                self._heard = self._clock()
                continue
            left = self._heard + max(self._limits.load_silence_seconds, _REPORTS_MISSED * interval) - self._clock()
            if left <= 0:
                return True
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self.wake.wait()
        return self._stalled

    async def _write(self, interval: float, write: Callable[[float], Awaitable[None]]) -> None:
        # No time-out: nothing may be sent after a write that was given up, not even a status.
        timer = asyncio.get_running_loop().call_later(self._limits.write_seconds, self._stall)
        try:
            await write(interval)
        finally:
            timer.cancel()

    def _stall(self) -> None:
        """The proxy takes nothing. It reports no more, but its stream keeps its place until it can be ended."""
        self.leave()
        self._stalled = True

    def leave(self) -> None:
        if not self._stalled:
            self._reports.leave(self._reporter)
