"""The store that a URL names."""

from typing import Final

from ratelimit.cluster_store import ClusterStore
from ratelimit.memory_store import MemoryStore
from ratelimit.near_cache import NearCache
from ratelimit.redis_store import RedisStore
from ratelimit.store import CounterStore
from records.redis_link import place_of
from records.store_address import Kind, check_tls, parse_store_url

MEMORY: Final = "memory"


def open_store(where: str, timeout: float = 0.15, most_counters: int = 1_000_000) -> CounterStore:
    """`memory`, with at most `most_counters`, or a store's URL (records.store_address); nothing connects yet.

    `timeout`: seconds within which every call is decided or lost. Raises ValueError for what cannot be used.
    """
    if where == MEMORY:
        return MemoryStore(most_counters)
    address = parse_store_url(where)
    if address.kind is not Kind.CLUSTER:
        return RedisStore.from_url(where, timeout)
    if address.tls is not None:
        check_tls(address.tls)
    return ClusterStore(
        lambda slot: RedisStore(
            place_of(address, timeout, slot), timeout, password=address.login.file, near=NearCache()
        )
    )
