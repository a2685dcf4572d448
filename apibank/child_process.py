"""One child process: started so that it cannot outlive us, logged into a bounded file, ended for certain."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LAUNCHER: Final = Path(__file__).with_name("launch.py")
_TAIL_BYTES: Final = 4000

# Asked again and again until it says yes.
Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Child:
    """A program of the stack.

    `ready` says whether it does its work; it has `ready_seconds` to get there. `drain` lets it finish what it has
    begun, for at most `drain_seconds`; then comes SIGTERM, and SIGKILL after `stop_seconds`. `environment` is the
    whole environment; None: ours.
    """

    name: str
    command: tuple[str, ...]
    ready: Probe
    ready_seconds: float = 60.0
    drain: Callable[[], Awaitable[None]] | None = None
    drain_seconds: float = 10.0
    stop_seconds: float = 5.0
    environment: Mapping[str, str] | None = None
    directory: Path | None = None


async def spawn(child: Child, log: Path) -> Process:
    """Start it, in a session of its own: Ctrl-C in the terminal reaches us alone, and we end the rest in order.

    It writes to the log itself. A pipe through us would make a busy supervisor block an Envoy that logs.
    """
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            str(_LAUNCHER),
            str(os.getpid()),
            *child.command,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            env=child.environment,
            cwd=child.directory,
            start_new_session=True,
        )


async def terminate(process: Process, seconds: float) -> bool:
    """SIGTERM, then SIGKILL after `seconds`; whether it went by itself. On return it is gone and reaped."""
    went = process.returncode is not None
    if not went:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait()
            went = True
    kill_group(process)
    await process.wait()
    return went


def kill_group(process: Process) -> None:
    """SIGKILL to the process and whatever it has started in its session; nothing is left to kill in most cases."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def exit_reason(code: int) -> str:
    """An exit code in words: negative is the signal that ended it."""
    return f"ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def trim_log(log: Path, limit: int) -> None:
    """Bound a log that its process holds open: beyond `limit` bytes it moves to `.1` and starts empty.

    Children append (O_APPEND), so they go on at the new end. Lines written during the copy can be lost.
    """
    try:
        if log.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def last_lines(log: Path, lines: int = 20) -> str:
    """What a process said last, for the error that reports its end."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        text = file.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])
