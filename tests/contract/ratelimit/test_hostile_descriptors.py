"""Descriptors from somebody who means harm, over gRPC and both stores: to share counters, to inject, to fill memory."""

from collections.abc import AsyncIterator

import grpc
import pytest
from prometheus_client import generate_latest
from redis.asyncio import Redis

from protos import rls_pb2 as pb
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.request import Unit
from tests.contract.ratelimit.service import OK, OVER, Asked, descriptor, domain, headers_of, per, serving
from tests.contract.ratelimit.valkey import valkey

SECRET = "wk_live_0123456789abcdef"
PAIRS = [
    (("a", "b"), ("c", "d")),
    (("a", "b:c"), ("c", "d")),
    (("a", "b\x00c"), ("c", "d")),
    (("a", "b}{c"), ("c", "d")),
    (("a", "b_c_d"), ("c", "")),
    (("a", "b"), ("c", "_d")),
    (("a", "b\r\nDEL rl"), ("c", "d")),
    (("a", "b' \"); redis.call('FLUSHALL') --"), ("c", "d")),
    (("a", "é"), ("c", "d")),
    (("a", "e\u0301"), ("c", "d")),
    (("a", ""), ("c", "")),
]


class Stored:
    """A service, and what its store holds."""

    def __init__(self, asked: Asked, client: "Redis | None") -> None:
        self.asked, self.client = asked, client

    async def keys(self) -> list[bytes]:
        if self.client is None:
            return []
        keys: list[bytes] = await self.client.keys("*")
        return keys


@pytest.fixture(params=["memory", "valkey"])
async def stored(request: pytest.FixtureRequest) -> AsyncIterator[Stored]:
    if request.param == "memory":
        async with serving(MemoryStore()) as asked:
            yield Stored(asked, None)
        return
    with valkey() as (url, _):
        store = RedisStore.from_url(url, 5)
        async with Redis.from_url(url) as client, serving(store) as asked:
            yield Stored(asked, client)
        await store.close()


async def test_values_that_look_alike_when_they_are_joined_are_counted_apart(stored: Stored) -> None:
    # A limit of an hour, so that no edge falls into the test but once in a while; then nobody is refused wrongly.
    domain(stored.asked, {(("a", None), ("c", None)): per(1, Unit.YEAR)})
    assert [(await stored.asked.ask(descriptor(*pair))).overall_code for pair in PAIRS] == [OK] * len(PAIRS)
    assert [(await stored.asked.ask(descriptor(*pair))).overall_code for pair in PAIRS] == [OVER] * len(PAIRS)


async def test_no_key_label_log_or_answer_has_a_value_of_a_descriptor(
    stored: Stored, capsys: pytest.CaptureFixture[str]
) -> None:
    domain(stored.asked, {(("api_key", None),): per(1, Unit.YEAR)})
    answers = [await stored.asked.ask(descriptor(("api_key", SECRET))) for _ in range(2)]
    assert answers[1].overall_code == OVER
    told = [
        *await stored.keys(),
        generate_latest(stored.asked.registry),
        *(each.SerializeToString() for each in answers),
    ]
    assert not any(SECRET.encode() in text for text in told)
    assert SECRET not in "".join(capsys.readouterr())


async def test_a_long_value_costs_no_more_memory_than_a_short_one(stored: Stored) -> None:
    domain(stored.asked, {(("key", None),): per(1, Unit.YEAR)})
    long = "x" * 1_000_000
    assert await stored.asked.codes(descriptor(("key", long)), times=2) == [OK, OVER]
    assert await stored.asked.codes(descriptor(("key", long + "y")), times=1) == [OK]
    assert all(len(key) <= 100 for key in await stored.keys())


async def test_what_is_not_configured_leaves_nothing_behind(stored: Stored) -> None:
    domain(stored.asked, {(("key", None),): per(1, Unit.YEAR)})
    for number in range(50):
        assert await stored.asked.codes(descriptor((f"other{number}", "x")), times=1) == [OK]
        assert await stored.asked.codes(descriptor(("key", "x")), times=1, domain=f"elsewhere{number}") == [OK]
    assert await stored.keys() == []
    lines = [
        line for line in generate_latest(stored.asked.registry).decode().splitlines() if "decisions_total{" in line
    ]
    assert len(lines) == 2


async def test_many_descriptors_and_a_message_that_is_too_long_are_answered_or_refused_and_break_nothing(
    stored: Stored,
) -> None:
    domain(stored.asked, {(("key", None),): per(1, Unit.YEAR)})
    many = [descriptor(("key", f"v{number}")) for number in range(257)]
    answer = await stored.asked.ask(*many[:256])
    assert (answer.overall_code, len(answer.statuses)) == (OK, 256)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stored.asked.ask(*many)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stored.asked.ask(descriptor(("key", "x" * (5 * 1024 * 1024))))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await stored.asked.codes(many[0], times=1) == [OVER]


async def test_the_same_counter_twice_in_a_request_is_charged_twice_or_not_at_all(stored: Stored) -> None:
    domain(stored.asked, {(("key", None),): per(3, Unit.YEAR)})
    twice = descriptor(("key", "a")), descriptor(("key", "a"))
    assert (await stored.asked.ask(*twice)).statuses[1].limit_remaining == 1
    refused = await stored.asked.ask(*twice)
    assert refused.overall_code == OVER
    assert (await stored.asked.ask(descriptor(("key", "a")))).overall_code == OK


@pytest.mark.parametrize("hits", [2**32 - 1, 2**63, 2**64 - 1])
async def test_hits_without_end_neither_wrap_around_nor_fill_a_counter(stored: Stored, hits: int) -> None:
    domain(stored.asked, {(("key", None),): per(10, Unit.YEAR)})
    assert await stored.asked.codes(descriptor(("key", "a"), hits=hits), times=1) == [OVER]
    assert await stored.asked.codes(descriptor(("key", "a"), hits=hits, refund=True), times=1) == [OK]
    answers = [await stored.asked.ask(descriptor(("key", "a"))) for _ in range(11)]
    assert [answer.overall_code for answer in answers] == [OK] * 10 + [pb.RateLimitResponse.OVER_LIMIT]


async def test_a_name_of_a_limit_cannot_end_a_header(stored: Stored) -> None:
    limit = per(1, Unit.YEAR)
    object.__setattr__(limit, "name", 'x"\r\nSet-Cookie: a=b')
    domain(stored.asked, {(("key", None),): limit})
    headers = headers_of(await stored.asked.ask(descriptor(("key", "a"))))
    assert headers["RateLimit-Policy"].startswith('"x\\"??Set-Cookie: a=b";q=1;')
