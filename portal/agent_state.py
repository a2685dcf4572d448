"""Which agents are there: those whose messages somebody has asked the bus for lately."""

import asyncio
from collections.abc import Collection
from typing import Final

from messaging.bus import Bus

# Consumers ask at least every three seconds.
ACTIVE_SECONDS: Final = 6.0


async def active(bus: Bus, names: Collection[str], within: float = ACTIVE_SECONDS) -> frozenset[str]:
    """Those of the agents that take messages. Raises BusAwayError."""
    ordered = sorted(names)
    found = await asyncio.gather(*(bus.consumers(name, within) for name in ordered))
    return frozenset(name for name, consumers in zip(ordered, found, strict=True) if consumers)
