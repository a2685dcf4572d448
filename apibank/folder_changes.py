"""Noticing that a folder's files are others, by looking: also where a link to it, or to one above it, is turned to
another folder, which no notice of the system tells of (ConfigMaps, releases), and where the folder goes and comes back.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

_PAUSE: Final = 0.2
# What each file is: its name, device and inode, and the time and size of its text. None: there is no folder.
_Look: TypeAlias = tuple[tuple[str, int, int, int, int], ...] | None


class FolderChanges:
    """What is different from the moment when this is made. `files`: those that matter; OSError where there are none."""

    def __init__(self, files: Callable[[], Sequence[Path]], pause: float = _PAUSE) -> None:
        self._files, self._pause = files, pause
        self._told = _look(files)

    async def until(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Yields after each change, once the files have stood still for one pause, until stopped."""
        last = self._told
        while not await _stopped(stop, self._pause):
            now = await asyncio.to_thread(_look, self._files)
            if now == last != self._told:
                self._told = now
                yield
            last = now


async def _stopped(stop: asyncio.Event, pause: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), pause)
    return stop.is_set()


def _look(files: Callable[[], Sequence[Path]]) -> _Look:
    try:
        stats = [(path.name, path.stat()) for path in files()]
    except OSError:
        return None
    return tuple((name, one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for name, one in stats)
