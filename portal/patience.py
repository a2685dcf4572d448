"""Wait for an answer for as long as this process itself was at work."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

_TURNS = 20


async def within(seconds: float, ask: Callable[[], Awaitable[None]]) -> None:
    """What `ask` does, for `seconds` at most.

    The time is spent in turns of the event loop. A process that gets no processor for two seconds, on a machine with
    too much to do, loses a turn or two by it, not all of its patience: otherwise the answers that meanwhile wait to be
    read would count as none, and everybody asked would look dead at once. Raises what `ask` raises, and TimeoutError.
    """
    asking = asyncio.ensure_future(ask())
    try:
        for _ in range(_TURNS):
            if (await asyncio.wait({asking}, timeout=seconds / _TURNS))[0]:
                return await asking
        raise TimeoutError
    finally:
        if not asking.done():
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await asking
