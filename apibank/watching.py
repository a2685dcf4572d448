"""Noticing changed files, from the first moment on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from watchfiles import Change, awatch

# Editors and deployments write several files in a row: changes that follow each other within the step are one burst,
# and a burst is over after this long in any case.
DEBOUNCE_MS: Final = 100
_STEP_MS: Final = 20


async def bursts(
    *folders: Path,
    stop: asyncio.Event,
    concerns: Callable[[Path], bool] = lambda path: True,
    recursive: bool = False,
) -> AsyncIterator[None]:
    """Yields once as soon as the folders are watched, and then after each burst of changes, until stopped.

    Whoever reads the files at each yield misses nothing: not what changed before the watch began, and not what
    changes while they read.
    """

    def wanted(_: Change, changed: str) -> bool:
        return concerns(Path(changed))

    watch = awatch(
        *folders, watch_filter=wanted, debounce=DEBOUNCE_MS, step=_STEP_MS, stop_event=stop, recursive=recursive
    )
    following = asyncio.ensure_future(anext(watch))
    try:
        # The watch begins with the first step of its first look.
        await asyncio.sleep(0)
        yield
        while True:
            try:
                await following
            except StopAsyncIteration:
                return
            following = asyncio.ensure_future(anext(watch))
            yield
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
            await following
        await watch.aclose()
