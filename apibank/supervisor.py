"""Keeps the stack's processes running, and ends them in order.

Processes start in stages: one stage is ready before the next begins, and the stages stop in reverse, so that nothing
loses what it depends on. A process that ends by itself is started again, after a pause that grows with each failure.
"""

import asyncio
import contextlib
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from apibank.child_process import Child, Probe, exit_reason, kill_group, last_lines, spawn, terminate, trim_log
from apibank.private_files import private_directory

_PROBE_SECONDS: Final = 2.0
_PROBE_PAUSE: Final = 0.05
_TRIM_PAUSE: Final = 2.0
LOG_LIMIT: Final = 16 * 1024 * 1024


class Happening(StrEnum):
    """What the terminal is told about a process."""

    STARTED = "started"
    READY = "ready"
    CRASHED = "crashed"
    DRAINING = "draining"
    STOPPED = "stopped"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Event:
    """`pid` is None where there is no process at that moment; `detail` is for people."""

    child: str
    happening: Happening
    pid: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BackOff:
    """Pauses before restarts, in seconds: doubled with each failure in a row, up to `longest`.

    A process that was ready and then lived for `stable` seconds has a clean record again.
    """

    shortest: float = 0.1
    longest: float = 5.0
    stable: float = 30.0

    def pause(self, failures: int) -> float:
        """The pause after this many failures in a row; `failures` is 1 or more."""
        return min(self.longest, self.shortest * 2.0 ** min(failures - 1, 30))

    def failures_after(self, failures: int, lived: float) -> int:
        """The failures in a row, counting the one of a process that has just ended after `lived` seconds."""
        return 1 if lived >= self.stable else failures + 1


class StartFailedError(Exception):
    """A process did not become ready when the stack started; the text holds what it said last."""

    def __init__(self, child: str, reason: str, said: str) -> None:
        self.child = child
        super().__init__(f"{child} {reason}" + (f"; it said last:\n{said}" if said.strip() else ""))


class Supervisor:
    """The processes of one stack. Use it from one event loop, in the main thread.

    The kernel ties children to the thread that started them (prctl(2)): a thread that ends takes them with it.
    """

    def __init__(
        self,
        logs: Path,
        on_event: Callable[[Event], None],
        *,
        back_off: BackOff | None = None,
        log_limit: int = LOG_LIMIT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logs = private_directory(logs)
        self._on_event = on_event
        self._back_off = back_off or BackOff()
        self._log_limit = log_limit
        self._monotonic = monotonic
        self._stages: list[list[_Keeper]] = []
        self._trimming: asyncio.Task[None] | None = None

    async def start(self, *children: Child) -> None:
        """Start a stage and wait until all of it is ready. Raises StartFailedError at the first that fails.

        Then, too, it is the caller who calls `stop`.
        """
        self._trimming = self._trimming or asyncio.create_task(self._trim_logs())
        stage = [
            _Keeper(child, self._logs / f"{child.name}.log", self._on_event, self._back_off, self._monotonic)
            for child in children
        ]
        self._stages.append(stage)
        try:
            async with asyncio.TaskGroup() as starting:
                for keeper in stage:
                    starting.create_task(keeper.start())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def stop(self) -> None:
        """Drain and end everything, last stage first. Nothing is left when it returns, nor when it is cancelled."""
        if self._trimming is not None:
            self._trimming.cancel()
        try:
            for stage in reversed(self._stages):
                await asyncio.gather(*(keeper.stop() for keeper in stage))
        finally:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to everything that still runs, now."""
        for stage in self._stages:
            for keeper in stage:
                keeper.kill()

    def pids(self) -> dict[str, int]:
        """Pid by name, of the processes that run at this moment."""
        return {keeper.child.name: keeper.pid for stage in self._stages for keeper in stage if keeper.pid is not None}

    async def _trim_logs(self) -> None:
        while True:
            for log in self._logs.glob("*.log"):
                with contextlib.suppress(OSError):
                    trim_log(log, self._log_limit)
            await asyncio.sleep(_TRIM_PAUSE)


class _Keeper:
    """One child, its present process, and the task that replaces it."""

    def __init__(
        self,
        child: Child,
        log: Path,
        on_event: Callable[[Event], None],
        back_off: BackOff,
        monotonic: Callable[[], float],
    ) -> None:
        self.child = child
        self._log = log
        self._on_event = on_event
        self._back_off = back_off
        self._monotonic = monotonic
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        process = await self._spawn()
        failure = await self._until_ready(process)
        if failure is not None:
            await terminate(process, self.child.stop_seconds)
            raise StartFailedError(self.child.name, failure, last_lines(self._log))
        self._keeping = asyncio.create_task(self._keep(process))

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait({self._keeping})  # it may be starting a process at this moment
        process = self._process
        if process is None:
            return
        if process.returncode is None and self.child.drain is not None:
            self._tell(Happening.DRAINING)
            await self._drain(process)
        went = await terminate(process, self.child.stop_seconds)
        self._process = None
        self._tell(Happening.STOPPED if went else Happening.KILLED)

    def kill(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._process is not None:
            kill_group(self._process)

    async def _spawn(self) -> Process:
        process = await spawn(self.child, self._log)
        self._process = process
        self._tell(Happening.STARTED)
        return process

    async def _drain(self, process: Process) -> None:
        assert self.child.drain is not None
        draining = asyncio.ensure_future(self.child.drain())
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait({draining, ended}, timeout=self.child.drain_seconds, return_when=asyncio.FIRST_COMPLETED)
            if draining.done() and draining.exception() is not None:
                self._tell(Happening.DRAINING, f"failed: {draining.exception()}")
        finally:
            draining.cancel()
            ended.cancel()

    async def _keep(self, process: Process) -> None:
        failures, since = 0, self._monotonic()
        while True:
            code = await process.wait()
            kill_group(process)  # what it has started itself would hold its ports
            failures = self._back_off.failures_after(failures, self._monotonic() - since)
            process = await self._replace(failures, exit_reason(code))
            failure = await self._until_ready(process)
            since = self._monotonic()
            if failure is not None:
                # Its end is noticed, counted and told by the next round.
                await terminate(process, self.child.stop_seconds)

    async def _replace(self, failures: int, reason: str) -> Process:
        while True:
            pause = self._back_off.pause(failures)
            self._tell(Happening.CRASHED, f"{reason}; next start in {pause:.1f} s")
            await asyncio.sleep(pause)
            try:
                return await self._spawn()
            except OSError as error:  # no memory, no file descriptors: as good a reason to wait as a crash
                failures, reason = failures + 1, f"could not be started: {error}"

    async def _until_ready(self, process: Process) -> str | None:
        """None when it is ready, else why it will not be."""
        deadline = self._monotonic() + self.child.ready_seconds
        while (code := process.returncode) is None:
            ready = await _answers(self.child.ready)
            # An answer may come from a stranger that took the port of a process that has ended meanwhile.
            if ready and self.pid == process.pid:
                self._tell(Happening.READY)
                return None
            if self._monotonic() >= deadline:
                return f"was not ready within {self.child.ready_seconds:g} s"
            await asyncio.sleep(_PROBE_PAUSE)
        return exit_reason(code)

    def _tell(self, happening: Happening, detail: str = "") -> None:
        self._on_event(Event(self.child.name, happening, self.pid, detail))


async def _answers(probe: Probe) -> bool:
    try:
        # Not wait_for: before Python 3.12 it loses a cancellation that meets a finished answer.
        async with asyncio.timeout(_PROBE_SECONDS):
            return await probe()
    except Exception:  # noqa: BLE001 - a process that answers anything else than yes is not ready
        return False
