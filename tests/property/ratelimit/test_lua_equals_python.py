"""Whatever is charged, in whatever order and at whatever times: the script in Valkey decides as the steps in Python.

The script in use reads the server's clock and takes none from its caller. For this test alone those lines are replaced
by a clock that comes as an argument: another script, with another digest.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Period, SlidingWindow
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge
from records.redis_link import place_of
from records.store_address import parse_store_url
from tests.contract.ratelimit.valkey import valkey

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_764_000_000 * SECOND

SERVER_CLOCK = "local time = redis.call('TIME')\nlocal now = time[1] * 1000000 + time[2]\n"
TESTS_CLOCK = "local now = tonumber(ARGV[2])\n"
# Drawn time stands still while real time passes, and goes back: no counter may expire meanwhile, in either store.
SPARE, LONG = "local SPARE = 1000\n", "local SPARE = 3600000\n"


def script_with_a_clock() -> str:
    text = resources.files("ratelimit").joinpath("lua/charge.lua").read_text("utf-8")
    assert text.count(SERVER_CLOCK) == text.count(SPARE) == 1
    return text.replace(SERVER_CLOCK, TESTS_CLOCK).replace(SPARE, LONG)


class ClockedStore(RedisStore):
    """The store, with the script whose clock is `now`, in microseconds."""

    now = START

    async def _evaluate(self, keys: Sequence[bytes], *arguments: bytes) -> list[int]:
        return await super()._evaluate(keys, *arguments, str(self.now).encode())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with valkey() as (found, _):
        yield found


RATES = st.one_of(st.integers(1, 20), st.sampled_from([7, 99_999, 2**30 + 3]))
TOLERANCES = st.sampled_from([0, 1, SECOND, 10 * SECOND])
LIMITS = st.one_of(
    st.builds(
        Gcra, st.one_of(st.integers(1, 20), st.sampled_from([7, 99_999, 2**30 + 3])), st.just(MINUTE), TOLERANCES
    ),
    st.builds(FixedWindow, st.integers(0, 12), st.sampled_from([SECOND, MINUTE, 3600 * SECOND])),
    st.builds(SlidingWindow, st.integers(0, 90), st.sampled_from([SECOND, MINUTE])),
    st.builds(CalendarQuota, st.integers(0, 12), st.sampled_from(Period), st.sampled_from(["UTC", "Asia/Kathmandu"])),
)
HITS = st.one_of(st.just(1), st.integers(-4, 40), st.sampled_from([0, 2**32 - 1, -(2**32 - 1)]))
GAPS = st.one_of(
    st.just(0),
    st.integers(0, 2 * SECOND),
    st.integers(0, 3 * MINUTE),
    st.integers(-3 * SECOND, 0),
    st.integers(-MINUTE, 0),
)


def key_of(limit: object, index: int) -> bytes:
    # As in matching: counters that do not count alike never share a key.
    return f"{type(limit).__name__}:{index}".encode()


@st.composite
def charges(draw: st.DrawFn) -> list[Charge]:
    limits = draw(st.lists(LIMITS, max_size=4))
    return [
        Charge(key_of(limit, draw(st.integers(0, 1))), limit, draw(HITS), draw(st.integers(0, 4)) > 0)
        for limit in limits
    ]


SCHEDULES = st.lists(st.tuples(GAPS, st.lists(charges(), min_size=1, max_size=4)), min_size=1, max_size=25)


EMPTIED = Charge(b"SlidingWindow:0", SlidingWindow(9, MINUTE), 3)


@given(SCHEDULES)
# An emptied log is written as one that ends now, which a clock that goes back makes the future.
@example([(0, [[EMPTIED], [replace(EMPTIED, hits=-3)]]), (-SECOND, [[EMPTIED], [replace(EMPTIED, hits=-3)]])])
@example([(0, [[EMPTIED], [replace(EMPTIED, hits=-3)]]), (-SECOND, [[EMPTIED], [replace(EMPTIED, hits=-1)]])])
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_memory_and_valkey_decide_alike(url: str, schedule: list[tuple[int, list[list[Charge]]]]) -> None:
    async def drive() -> None:
        async with Redis.from_url(url) as client:
            await client.flushall()
            clocked = ClockedStore(place_of(parse_store_url(url), 10), 10, script=script_with_a_clock())
            memory = MemoryStore(steady=lambda: clocked.now, wall=lambda: clocked.now, spare=3600 * SECOND)
            for gap, requests in schedule:
                clocked.now += gap
                assert await clocked.charge_many(requests) == await memory.charge_many(requests)
            for _, requests in schedule:
                for request in requests:
                    assert await clocked.peek(request) == await memory.peek(request)
            # Sixteen digits, every one of them: Lua's `..` would keep fourteen.
            for key, state in memory._counters.items():
                assert tuple(map(int, (await client.get(key)).split())) == state
            await clocked.close()

    asyncio.run(drive())


def test_the_script_in_use_takes_no_time_from_its_caller() -> None:
    text = resources.files("ratelimit").joinpath("lua/charge.lua").read_text("utf-8")
    code = "\n".join(line.split("--")[0] for line in text.splitlines())
    assert code.count("ARGV") == code.count("ARGV[1]") == 1
    assert SERVER_CLOCK in text


@pytest.mark.parametrize("lowered", [Gcra(5, SECOND, 0), FixedWindow(1, MINUTE), SlidingWindow(1, MINUTE)])
def test_what_is_given_back_under_a_lowered_limit_is_given_back_in_both(
    url: str, lowered: Gcra | FixedWindow | SlidingWindow
) -> None:
    full = Gcra(5, SECOND, SECOND) if isinstance(lowered, Gcra) else type(lowered)(6, lowered.period)

    async def drive() -> None:
        clocked = ClockedStore(place_of(parse_store_url(url), 10), 10, script=script_with_a_clock())
        memory = MemoryStore(steady=lambda: clocked.now, wall=lambda: clocked.now)
        key = f"lowered:{lowered}".encode()
        for limit, hits, left in ((full, 6, 0), (lowered, -1, 0), (full, 0, 1), (lowered, 1, 0)):
            requests = [[Charge(key, limit, hits)]]
            ((admitted, (reading,)),) = outcomes = await memory.charge_many(requests)
            assert (admitted, reading[1]) == (hits < 1 or limit is full, left)
            assert await clocked.charge_many(requests) == outcomes
        await clocked.close()

    asyncio.run(drive())


SHARED = [Gcra(5, SECOND, SECOND), Gcra(50, SECOND, 0), FixedWindow(3, MINUTE), FixedWindow(9, MINUTE)]
BATCHES = st.lists(
    st.lists(
        st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 6), st.booleans()), min_size=1, max_size=3),
        min_size=1,
        max_size=20,
    ),
    min_size=1,
    max_size=6,
)


@given(BATCHES)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_over_shared_counters_is_decided_as_its_requests_one_after_the_other(
    url: str, batches: list[list[list[tuple[int, int, bool]]]]
) -> None:
    """Limits are raised and lowered within a batch, too: two figures for each of two counters."""

    async def drive() -> None:
        async with Redis.from_url(url) as client:
            await client.flushall()
            clocked = ClockedStore(place_of(parse_store_url(url), 10), 10, script=script_with_a_clock())
            memory = MemoryStore(steady=lambda: clocked.now, wall=lambda: clocked.now, spare=3600 * SECOND)
            for batch in batches:
                requests = [
                    [
                        Charge(b"shared-%d" % (index // 2), SHARED[index], hits, enforced)
                        for index, hits, enforced in one
                    ]
                    for one in batch
                ]
                expected = [await memory.charge(request) for request in requests]
                assert await clocked.charge_many(requests) == expected
                clocked.now += SECOND // 3
            await clocked.close()

    asyncio.run(drive())
