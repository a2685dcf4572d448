"""Counters in memory: what is dropped, and when."""

import tracemalloc

import pytest

from ratelimit.algorithms import FixedWindow, Gcra
from ratelimit.memory_store import MemoryStore
from ratelimit.store import Charge, Loss, Unavailable
from tests.contract.ratelimit.stores import admitted

SECOND = 1_000_000
DAY = 86_400 * SECOND


async def test_a_memory_store_drops_only_what_is_worth_nothing() -> None:
    now = 1_764_000_000 * SECOND
    store = MemoryStore(max_keys=10, steady=lambda: now, wall=lambda: now)
    brief, long = Gcra(60, 60 * SECOND, 0), FixedWindow(1, DAY)
    for index in range(5):
        assert await admitted(store, Charge(b"brief-%d" % index, brief))
        assert await admitted(store, Charge(b"long-%d" % index, long))
    assert await store.charge((Charge(b"new", brief),)) == Unavailable(Loss.FULL)
    # Those that it knows are served on, and refused as they should be.
    assert not await admitted(store, Charge(b"long-0", long))
    now += 5 * SECOND
    for index in range(5):
        assert await admitted(store, Charge(b"more-%d" % index, long))
    assert await store.charge((Charge(b"new", brief),)) == Unavailable(Loss.FULL)
    assert [await admitted(store, Charge(b"long-%d" % index, long)) for index in range(5)] == [False] * 5


@pytest.mark.attack("A66")
async def test_a_memory_store_forgets_what_has_expired_as_it_goes() -> None:
    now = 1_764_000_000 * SECOND
    store = MemoryStore(steady=lambda: now, wall=lambda: now)
    for index in range(20_000):
        now += 1000
        await store.charge(
            (Charge(b"%d" % index, Gcra(600, 60 * SECOND, 0)), Charge(b"w%d" % index, FixedWindow(9, SECOND)))
        )
        assert len(store) < 7000


@pytest.mark.attack("A66")
async def test_a_million_counters_take_less_than_four_hundred_megabytes() -> None:
    # A fiftieth of them, as each takes the same and allocations are slow to trace.
    store, limit = MemoryStore(), Gcra(1, 3600 * SECOND, 0)
    tracemalloc.start()
    try:
        for index in range(20_000):
            store.charge_now(((Charge(b"rl:{marketing}:g:%022d" % index, limit),),))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(store) == 20_000
    assert taken < 8_000_000
