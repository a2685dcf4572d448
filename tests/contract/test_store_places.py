"""What replicas of a gateway share of credentials, on every kind of store."""

from collections.abc import Iterator

import pytest

from authz.decision import NonceClaim
from authz.failures import FailureStoreError
from authz.nonces import NonceStoreError
from authz.redis_store import RedisFailures, RedisNonceStore
from tests.contract.ratelimit.stores import KINDS, running
from tests.support.redis_servers import needs_redis


@pytest.fixture(
    scope="module",
    params=[pytest.param(kind, marks=needs_redis if kind == "tls" else ()) for kind in KINDS if kind != "memory"],
)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with running(request.param) as place:
        yield place.url


async def test_a_nonce_is_spent_once_whoever_sees_it(url: str) -> None:
    one, other = (RedisNonceStore.from_url(url, "agents", timeout=10) for _ in range(2))
    claims = [NonceClaim("content", f"nonce-{number}", 120) for number in range(40)]
    assert await one.spend_many(claims) == [True] * 40
    assert await other.spend_many(claims) == [False] * 40
    await one.close()
    await other.close()


async def test_failures_are_counted_together(url: str) -> None:
    one, other = (RedisFailures.from_url(url, "central", timeout=10) for _ in range(2))
    addresses = {f"192.0.2.{number}": 2 for number in range(40)}
    await one.add(addresses)
    assert await other.add(addresses) == dict.fromkeys(addresses, 4)
    await one.close()
    await other.close()


async def test_a_cluster_or_sentinels_that_are_gone_are_a_loss() -> None:
    for url in ("redis+cluster://127.0.0.1:1,127.0.0.1:2", "redis+sentinel://127.0.0.1:1/0?master=counters"):
        nonces, failures = RedisNonceStore.from_url(url, "agents"), RedisFailures.from_url(url, "agents")
        (lost,) = await nonces.spend_many([NonceClaim("content", "nonce", 120)])
        assert isinstance(lost, NonceStoreError)
        with pytest.raises(FailureStoreError):
            await failures.add({"192.0.2.1": 1})
        await nonces.close()
        await failures.close()
