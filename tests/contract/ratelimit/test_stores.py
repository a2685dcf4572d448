"""What every counter store promises, and what happens when the one behind the network is not there."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from ratelimit.algorithms import NEVER, CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, CounterStore, Loss, Outcome, Unavailable
from tests.contract.ratelimit.valkey import server_on, socket_path, valkey

SECOND = 1_000_000
DAY = 86_400 * SECOND

PLENTY = SlidingWindow(1000, DAY)
ONE = SlidingWindow(1, DAY)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with valkey() as (found, _):
        yield found


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[CounterStore]:
    if request.param == "memory":
        yield MemoryStore()
        return
    url: str = request.getfixturevalue("url")
    async with Redis.from_url(url) as client:
        await client.flushall()
    redis_store = RedisStore.from_url(url, timeout=10)
    yield redis_store
    await redis_store.close()


async def admitted(store: CounterStore, *charges: Charge) -> bool:
    outcome = await store.charge(charges)
    assert isinstance(outcome, Outcome)
    return outcome.admitted


async def remaining(store: CounterStore, *charges: Charge) -> list[int]:
    readings = await store.peek(charges)
    assert not isinstance(readings, Unavailable)
    return [reading[1] for reading in readings]


@pytest.mark.attack("A61")
@pytest.mark.parametrize(
    "limit", [SlidingWindow(100, DAY), FixedWindow(100, 365 * DAY), Gcra(1, 30 * DAY, 99 * 30 * DAY)]
)
async def test_two_thousand_at_once_on_a_limit_of_a_hundred_admit_a_hundred(store: CounterStore, limit: Limit) -> None:
    charge = Charge(b"hot", limit)
    outcomes = await asyncio.gather(*(admitted(store, charge) for _ in range(2000)))
    assert sum(outcomes) == 100


@pytest.mark.attack("A63")
async def test_a_refused_request_consumes_nothing(store: CounterStore) -> None:
    roomy, full = Charge(b"roomy", PLENTY), Charge(b"full", ONE)
    assert await admitted(store, full)
    for order in ((roomy, full), (full, roomy)):
        assert not await admitted(store, *order)
    assert await remaining(store, roomy, full) == [1000, 0]


async def test_a_refused_request_consumes_nothing_under_concurrency_either(store: CounterStore) -> None:
    shared, own = Charge(b"shared", SlidingWindow(50, DAY)), SlidingWindow(1, DAY)
    requests = [(Charge(b"own-%d" % (index % 100), own), shared) for index in range(1000)]
    outcomes = await asyncio.gather(*(admitted(store, *request) for request in requests))
    assert sum(outcomes) == 50
    left = await remaining(store, *(Charge(b"own-%d" % index, own) for index in range(100)))
    # Fifty callers were admitted; the others' own counters were not touched by their refusals.
    assert sorted(left) == [0] * 50 + [1] * 50


async def test_a_refusal_says_which_limit_refused_and_reads_the_others_as_they_stand(store: CounterStore) -> None:
    roomy, full = Charge(b"roomy", PLENTY), Charge(b"full", ONE)
    await store.charge((roomy, full))
    outcome = await store.charge((roomy, full))
    assert isinstance(outcome, Outcome)
    (first, first_left, first_wait, _), (second, second_left, wait, _) = outcome.readings
    assert (first, first_left, first_wait) == (True, 999, 0)
    assert (second, second_left) == (False, 0)
    assert DAY - 60 * SECOND < wait <= DAY


async def test_one_counter_charged_twice_in_one_request_counts_twice(store: CounterStore) -> None:
    twice = Charge(b"twice", SlidingWindow(3, DAY))
    assert await admitted(store, twice, twice)
    assert not await admitted(store, twice, twice)
    assert await remaining(store, twice) == [1]


async def test_a_limit_in_shadow_refuses_nobody_and_costs_nobody(store: CounterStore) -> None:
    shadow, real = Charge(b"shadow", ONE, enforced=False), Charge(b"real", SlidingWindow(2, DAY))
    assert [await admitted(store, shadow, real) for _ in range(3)] == [True, True, False]
    outcome = await store.charge((shadow, Charge(b"other", PLENTY)))
    assert isinstance(outcome, Outcome)
    assert outcome.admitted
    assert not outcome.readings[0][0]


async def test_results_come_in_the_order_of_the_requests(store: CounterStore) -> None:
    charge = Charge(b"order", SlidingWindow(3, DAY))
    outcomes = await store.charge_many([(charge,), (), (charge, charge), (charge,)])
    assert [outcome.admitted for outcome in outcomes if isinstance(outcome, Outcome)] == [True, True, True, False]
    assert [len(outcome.readings) for outcome in outcomes if isinstance(outcome, Outcome)] == [1, 0, 2, 1]
    assert await store.charge_many([]) == []


async def test_reading_charges_nothing(store: CounterStore) -> None:
    charge = Charge(b"read", SlidingWindow(2, DAY))
    for left in (2, 1, 0):
        assert await remaining(store, charge) == [left]
        assert await remaining(store, charge) == [left]
        await store.charge((charge,))


async def test_hits_can_be_given_back(store: CounterStore) -> None:
    assert await admitted(store, Charge(b"refund", PLENTY, 1000))
    assert await admitted(store, Charge(b"refund", PLENTY, -400))
    assert await remaining(store, Charge(b"refund", PLENTY)) == [400]


async def test_a_calendar_quota_counts_by_the_stores_clock(store: CounterStore) -> None:
    charge = Charge(b"day", CalendarQuota(2, Period.MONTH, "Europe/Berlin"))
    assert [await admitted(store, charge) for _ in range(3)] == [True, True, False]
    ahead = Charge(b"never", CalendarQuota(2, Period.DAY), 3)
    outcome = await store.charge((ahead,))
    assert isinstance(outcome, Outcome)
    assert outcome.readings[0][2] == NEVER


async def test_a_store_in_use_is_ready(store: CounterStore) -> None:
    assert await store.ready()


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
async def test_counters_in_valkey_expire_when_they_are_worth_nothing(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    async with Redis.from_url(url) as client:
        await client.flushall()
        await store.charge((Charge(b"expiring", Gcra(100, 60 * SECOND, 10 * SECOND), 17),))
        assert 10_000 < await client.pttl(b"expiring") <= 11_200
        await store.charge((Charge(b"refused", ONE, 2), Charge(b"asked", ONE, 0)))
        assert await client.exists(b"refused", b"asked") == 0
    await store.close()


async def test_a_valkey_that_forgot_the_script_is_told_it_again(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    async with Redis.from_url(url) as client:
        for _ in range(2):
            await client.script_flush()
            assert await admitted(store, Charge(b"script", PLENTY))
    await store.close()


async def test_a_store_whose_idea_of_the_servers_clock_is_wrong_counts_by_the_server(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    month = Charge(b"clock", CalendarQuota(2, Period.MONTH))
    assert await admitted(store, month)
    store._ahead += 400 * DAY
    assert [await admitted(store, month) for _ in range(2)] == [True, False]
    await store.close()


@pytest.mark.requirement("R23")
async def test_several_stores_on_one_valkey_are_exact_together(url: str) -> None:
    stores = [RedisStore.from_url(url, timeout=10) for _ in range(4)]
    charge = Charge(b"shared by four", SlidingWindow(100, DAY))
    outcomes = await asyncio.gather(*(admitted(stores[index % 4], charge) for index in range(2000)))
    assert sum(outcomes) == 100
    for store in stores:
        await store.close()


async def loss_of(store: RedisStore) -> tuple[Loss, float]:
    start = time.monotonic()
    result = await store.charge((Charge(b"lost", PLENTY),))
    assert isinstance(result, Unavailable)
    return result.loss, time.monotonic() - start


async def decided_within(store: RedisStore, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if isinstance(await store.charge((Charge(b"back", PLENTY),)), Outcome):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_a_valkey_that_is_gone_is_a_loss_at_once_and_counts_again_when_it_is_back() -> None:
    with socket_path() as path:
        server = server_on(path)
        server.start()
        store = RedisStore.from_url(f"unix://{path}", timeout=5)
        assert await admitted(store, Charge(b"before", PLENTY))
        server.stop()
        for _ in range(20):
            assert (await loss_of(store))[0] is Loss.UNREACHABLE
        assert not await store.ready()
        with server_on(path):
            assert await decided_within(store, 5)
        await store.close()


async def heard_the_end(store: RedisStore) -> None:
    """Until the loop has read that the server closed the connection."""
    connection = store._connection
    assert connection is not None
    async with asyncio.timeout(10):
        while not await connection.can_read():
            await asyncio.sleep(0.01)


@pytest.mark.attack("A64")
async def test_a_valkey_that_was_restarted_between_two_charges_decides_the_next() -> None:
    with socket_path() as path:
        store = RedisStore.from_url(f"unix://{path}", timeout=10)
        with server_on(path):
            assert await admitted(store, Charge(b"before", PLENTY))
        with server_on(path):
            await heard_the_end(store)
            assert await admitted(store, Charge(b"after", PLENTY))
            # Once, and not twice for the connection that was replaced.
            assert await remaining(store, Charge(b"after", PLENTY)) == [999]
        with server_on(path):
            await heard_the_end(store)
            assert await admitted(store, Charge(b"again", PLENTY))
            assert await remaining(store, Charge(b"again", PLENTY)) == [999]
        await store.close()


async def test_a_charge_that_was_sent_is_not_sent_again_when_its_connection_ends() -> None:
    received = 0

    async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while command := await reader.read(65536):
            if b"EVALSHA" in command:
                received += 1
                break
            writer.write(b"+OK\r\n" * command.count(b"CLIENT"))
        writer.close()

    with socket_path() as path:
        server = await asyncio.start_unix_server(dying, path)
        store = RedisStore.from_url(f"unix://{path}", timeout=10)
        assert (await loss_of(store))[0] is Loss.UNREACHABLE
        assert received == 1
        await store.close()
        server.close()


async def test_a_valkey_that_hangs_costs_nobody_more_than_the_time_out() -> None:
    with valkey() as (url, server):
        store = RedisStore.from_url(url, timeout=0.5)
        assert await decided_within(store, 10)
        process = server._process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        try:
            losses = await asyncio.gather(*(loss_of(store) for _ in range(100)))
            assert {loss for loss, _ in losses} == {Loss.TIMEOUT}
            # Generous beside half a second, for machines that do other things; without a bound this would hang.
            assert max(seconds for _, seconds in losses) < 10
        finally:
            os.kill(process.pid, signal.SIGCONT)
        assert await decided_within(store, 10)
        await store.close()


@pytest.mark.attack("A65", "A66")
async def test_a_valkey_without_memory_is_a_loss_and_not_an_admission() -> None:
    with valkey(maxmemory="1mb", maxmemory_policy="noeviction") as (url, _):
        store = RedisStore.from_url(url, timeout=10)
        assert (await loss_of(store))[0] is Loss.FULL
        await store.close()


async def test_callers_that_wait_when_the_store_closes_are_told(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    waiting = [asyncio.create_task(store.charge((Charge(b"late", PLENTY),))) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    assert {await call for call in waiting} == {Unavailable(Loss.UNREACHABLE)}
