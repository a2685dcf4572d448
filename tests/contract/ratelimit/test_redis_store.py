"""Counters in Valkey: what is left there, and what happens when it is not there."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from ratelimit.algorithms import CalendarQuota, Gcra, Period, SlidingWindow
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, Loss, Outcome, Unavailable
from tests.contract.ratelimit.stores import admitted, remaining
from tests.contract.ratelimit.valkey import server_on, socket_path, valkey

SECOND = 1_000_000
DAY = 86_400 * SECOND

PLENTY = SlidingWindow(1000, DAY)
ONE = SlidingWindow(1, DAY)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with valkey() as (found, _):
        yield found


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


async def test_more_than_one_script_call_can_hold_is_charged_in_several(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    requests = [[Charge(b"%d of %d" % (each, number), ONE) for each in range(250)] for number in range(40)]
    for expected in (True, False):
        outcomes = await store.charge_many(requests)
        assert [isinstance(each, Outcome) and each.admitted for each in outcomes] == [expected] * 40
    await store.close()


async def test_whose_time_had_gone_before_anything_was_sent_is_not_charged(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    charge = Charge(b"too late", PLENTY)
    assert await remaining(store, charge) == [1000]
    connection = store._connection
    store._timeout = 0
    assert await store.charge((charge,)) == Unavailable(Loss.TIMEOUT)
    store._timeout = 10
    assert await remaining(store, charge) == [1000]
    assert store._connection is connection
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
            writer.write(b"*2\r\n$1\r\n1\r\n$1\r\n0\r\n" * command.count(b"TIME"))
            writer.write(b"-ERR unknown command\r\n" * command.count(b"INFO"))
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


@pytest.mark.attack("A65")
@pytest.mark.parametrize(
    ("policy", "most", "told"),
    [("allkeys-lru", "64mb", True), ("volatile-ttl", "64mb", True), ("allkeys-lru", "0", False),
     ("noeviction", "64mb", False)],
)  # fmt: skip
async def test_a_store_that_may_evict_counters_is_told_of_once(policy: str, most: str, told: bool) -> None:
    with valkey(maxmemory=most, maxmemory_policy=policy) as (url, _), capture_logs() as logs:
        store = RedisStore.from_url(url, timeout=10)
        for _ in range(3):
            assert await admitted(store, Charge(b"evicting", PLENTY))
            await store._hang_up()
        await store.close()
    assert [each["maxmemory_policy"] for each in logs if each["event"] == "counters_can_be_evicted"] == [policy] * told


async def test_callers_that_wait_when_the_store_closes_are_told(url: str) -> None:
    store = RedisStore.from_url(url, timeout=10)
    waiting = [asyncio.create_task(store.charge((Charge(b"late", PLENTY),))) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    assert {await call for call in waiting} == {Unavailable(Loss.UNREACHABLE)}
