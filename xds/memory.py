"""Memory that many streams needed while they started, and that stands idle since, goes back to the system.

A proxy's first request has 60 kB and its first answers as much; the allocator of glibc keeps what they leave behind,
a third of what a stream takes for good. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from typing import Final

# So many streams leave a few megabytes, and so long after the last of them most have settled.
_STREAMS: Final = 100
_CALM_SECONDS: Final = 1.0


def give_back() -> None:
    """Takes some ten milliseconds for a hundred megabytes."""
    gc.collect(0)
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Reclaim:
    """Gives memory back after so many streams have started. `after` calls a function after that many seconds."""

    def __init__(
        self, after: Callable[[float, Callable[[], None]], object], give_back: Callable[[], None] = give_back
    ) -> None:
        self._after = after
        self._give_back = give_back
        self._started = 0
        self._due = False

    def started(self) -> None:
        self._started += 1
        if self._started >= _STREAMS and not self._due:
            self._due = True
            self._started = 0
            self._after(_CALM_SECONDS, self._wait)

    def _wait(self) -> None:
        if self._started:
            # More are starting.
            self._started = 0
            self._after(_CALM_SECONDS, self._wait)
            return
        self._due = False
        self._give_back()
