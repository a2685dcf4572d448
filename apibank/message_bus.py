"""Where messages to agents wait: the bus of a process, on the store that its settings name."""

from typing import Final

from messaging.bus import Bus, BusLimits
from messaging.memory import MemoryBus
from messaging.redis_streams import RedisBus
from records.redis_client import client_of
from records.store_address import parse_store_url

MEMORY: Final = "memory"
# Another consumer gets what one that died had taken after this lease.
LIMITS: Final = BusLimits(lease=10.0)
_TIMEOUT: Final = 2.0


def open_bus(store: str) -> Bus:
    """A bus in this process's memory, or on a store's URL; nothing connects yet. Raises ValueError for no URL."""
    if store == MEMORY:
        return MemoryBus(LIMITS)
    return RedisBus(client_of(parse_store_url(store), _TIMEOUT), LIMITS, _TIMEOUT)
