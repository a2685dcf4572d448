"""What the service says beside yes and no, and what it says when it cannot decide."""

import asyncio
from collections.abc import Callable, Sequence

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, generate_latest

from policy.limits import StoreFailure
from protos import rls_pb2 as pb
from protos import rls_pb2_grpc as pb_grpc
from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Unit
from ratelimit.rules import Rule
from ratelimit.server import SERVICE, serve
from ratelimit.store import Charge, Loss, Outcome, Unavailable
from rpc.server import ServerKind
from tests.contract.ratelimit.service import (
    NOON,
    OK,
    OVER,
    SECOND,
    UNLIMITED,
    Asked,
    descriptor,
    domain,
    headers_of,
    per,
    serving,
)

KINDS: Sequence[ServerKind] = ("native", "grpcio")
# What a server that is being stopped says of the calls that it does not take.
LEAVING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}


@pytest.mark.requirement("R42")
async def test_a_refusal_says_when_to_come_back_and_why_in_a_problem_document(asked: Asked) -> None:
    minute = Rule("requests", Gcra(100, 60 * SECOND, 10 * SECOND))
    day = Rule(
        "day",
        CalendarQuota(10, Period.DAY),
        Unit.DAY,
        "daily_limit_reached",
        "Daily limit reached (upgrade to Business)",
    )
    domain(asked, {(("minute", None),): minute, (("day", None),): day})
    both = descriptor(("minute", "a")), descriptor(("day", "a"))
    assert await asked.codes(*both, times=10) == [OK] * 10
    asked.clock[0] += 1
    answer = await asked.ask(*both)
    assert [status.code for status in answer.statuses] == [OK, OVER]
    until_midnight = 12 * 3600
    headers = headers_of(answer)
    assert headers["Retry-After"] == headers["X-RateLimit-Reset"] == str(until_midnight)
    assert headers["RateLimit"] == f'"day";r=0;t={until_midnight}, "requests";r=7;t=6'
    assert headers["Content-Type"] == "application/problem+json"
    assert answer.statuses[1].duration_until_reset.ToMicroseconds() == until_midnight * SECOND - 1
    assert answer.raw_body == (
        b'{"type":"https://waooaw.ai/problems/daily_limit_reached","title":"Too Many Requests","status":429,'
        b'"detail":"Daily limit reached (upgrade to Business)","code":"daily_limit_reached"}'
    )


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("7d34002e-1171-49d7-9ff6-7d53f6a8e433", "7d34002e-1171-49d7-9ff6-7d53f6a8e433"),
        ("-", None),
        ('x","status":200,"y":"', None),
        ("x" * 129, None),
        (None, None),
    ],
)
async def test_the_body_of_a_refusal_has_the_id_that_envoy_says_and_no_other_text(
    asked: Asked, said: str | None, told: str | None
) -> None:
    domain(asked, {(("key", None),): per(0, Unit.MINUTE)})
    request = pb.RateLimitRequest(domain="test", descriptors=[descriptor(("key", "a"))])
    metadata = () if said is None else (("x-request-id", said),)
    body = orjson.loads((await asked.stub.ShouldRateLimit(request, timeout=10, metadata=metadata)).raw_body)
    assert body.get("request_id") == told
    assert (body["status"], body["code"]) == (429, "rate_limited")


async def test_of_two_limits_that_refuse_the_one_to_wait_for_longest_speaks(asked: Asked) -> None:
    brief = Rule("brief", FixedWindow(1, SECOND), Unit.SECOND, "brief_limit")
    long = Rule("long", FixedWindow(1, 60 * SECOND), Unit.MINUTE, "long_limit")
    domain(asked, {(("brief", None),): brief, (("long", None),): long})
    both = descriptor(("brief", "a")), descriptor(("long", "a"))
    await asked.ask(*both)
    answer = await asked.ask(*both)
    assert [status.code for status in answer.statuses] == [OVER, OVER]
    assert b'"code":"long_limit"' in answer.raw_body
    assert headers_of(answer)["Retry-After"] == "60"


async def test_what_never_passes_has_no_retry_after(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(0, Unit.MINUTE)})
    answer = await asked.ask(descriptor(("key", "a")))
    assert answer.overall_code == OVER
    assert "Retry-After" not in headers_of(answer)


class LostStore(MemoryStore):
    """A store that decides nothing."""

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        return [Unavailable(Loss.TIMEOUT)] * len(requests)


@pytest.mark.attack("A65")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_lost_store_lets_pass_only_what_may_fail_open(kind: ServerKind) -> None:
    async with serving(LostStore(), kind) as asked:
        open_rule, closed_rule = per(1, Unit.MINUTE, on_store_failure=StoreFailure.OPEN), per(1, Unit.MINUTE)
        domain(asked, {(("open", None),): open_rule, (("closed", None),): closed_rule})
        answer = await asked.ask(descriptor(("open", "a")), descriptor(("x", "y")))
        assert (answer.overall_code, len(answer.statuses)) == (OK, 2)
        for descriptors in ([descriptor(("closed", "a"))], [descriptor(("open", "a")), descriptor(("closed", "a"))]):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await asked.ask(*descriptors)
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await asked.codes(descriptor(("x", "y")), times=1) == [OK]
        lost = "apibank_ratelimit_store_losses_total"
        assert asked.metric(lost, domain="test", loss="timeout", answer="admitted") == 1
        assert asked.metric(lost, domain="test", loss="timeout", answer="unavailable") == 2


class BrokenStore(MemoryStore):
    """A store that fails as none should."""

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        raise RuntimeError("key=secret")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_unexpected_error_is_no_admission_and_tells_nothing(
    kind: ServerKind, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(BrokenStore(), kind) as asked:
        domain(asked, {(("key", None),): per(1, Unit.MINUTE, on_store_failure=StoreFailure.OPEN)})
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asked.ask(descriptor(("key", "a")))
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert "secret" not in str(raised.value.details())
        assert asked.metric("apibank_ratelimit_failures_total") == 1
    assert "secret" not in "".join(capsys.readouterr())


async def test_decisions_are_counted_by_limit_and_never_by_caller(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(1, Unit.MINUTE), (("free", None),): Rule("free", None)})
    for _ in range(2):
        await asked.ask(
            descriptor(("key", "sub:jane")), descriptor(("free", "sub:jane")), descriptor(("x", "sub:jane"))
        )
    name = "apibank_ratelimit_decisions_total"
    assert asked.metric(name, domain="test", limit="1 per minute", outcome="admitted") == 1
    assert asked.metric(name, domain="test", limit="1 per minute", outcome="refused") == 1
    assert asked.metric(name, domain="test", limit="free", outcome="unlimited") == 2
    assert asked.metric(name, domain="test", limit="none", outcome="unmatched") == 2
    assert asked.metric("apibank_ratelimit_decision_seconds_count") == 2
    assert b"jane" not in generate_latest(asked.registry)


async def test_health_is_served_beside_the_limits(asked: Asked) -> None:
    stub = health_pb2_grpc.HealthStub(asked.channel)
    for name in ("", SERVICE):
        request = health_pb2.HealthCheckRequest(service=name)
        assert (await stub.Check(request, timeout=10)).status == health_pb2.HealthCheckResponse.SERVING
        watch = stub.Watch(request, timeout=10)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked.channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff", timeout=10)
    # The two servers name the nonsense differently; neither serves it, and both go on.
    assert raised.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN}
    assert await asked.codes(descriptor(("x", "y")), times=1) == [OK]


async def test_calls_that_come_together_are_answered_each_to_its_caller(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(3, Unit.MINUTE)})
    answers = await asyncio.gather(*(asked.ask(descriptor(("key", f"v{index % 50}"))) for index in range(250)))
    assert sum(answer.overall_code == OK for answer in answers) == 150
    for index in range(50):
        own = sorted(answer.statuses[0].limit_remaining for answer in answers[index::50] if answer.overall_code == OK)
        assert own == [0, 1, 2]


async def test_a_server_that_stops_answers_what_is_under_way_and_takes_no_more(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(100, Unit.MINUTE)})
    calls = [asyncio.ensure_future(asked.ask(descriptor(("key", "a")))) for _ in range(50)]
    await asyncio.gather(*calls[:1])
    await asked.running.stop()
    answered = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answered:
        refused = isinstance(answer, grpc.aio.AioRpcError) and answer.code() in LEAVING
        assert refused or isinstance(answer, pb.RateLimitResponse)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asked.ask(descriptor(("key", "a")))
    assert raised.value.code() in LEAVING


async def test_usage_is_read_without_being_charged(asked: Asked) -> None:
    domain(asked, {(("key", None),): per(10, Unit.MINUTE), (("free", None),): Rule("free", None)})
    await asked.ask(descriptor(("key", "a")), hits=4)
    for _ in range(2):
        usage = await asked.limiter.usage("test", [(("x", "y"),), (("key", "a"),), (("free", "a"),)])
        assert not isinstance(usage, Unavailable)
        nothing, mine, unlimited = usage
        assert nothing is None
        assert unlimited is None
        assert mine is not None
        assert (mine.rule.name, mine.remaining, mine.reset_after) == ("10 per minute", 6, 60 * SECOND)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "example.com:80", "10.0.0.1:0"])
async def test_plaintext_is_served_to_this_machine_only(listen: str) -> None:
    with pytest.raises(ValueError, match="TLS"):
        await serve(RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry())), listen)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_unix_socket_serves_as_well(kind: ServerKind, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("s") / "r.sock"
    limiter = RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry()))
    running = await serve(limiter, f"unix:{path}", kind)
    assert running.port == 0
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        asked = Asked(pb_grpc.RateLimitServiceStub(channel), channel, limiter, CollectorRegistry(), running, [NOON])
        assert await asked.codes(descriptor(("x", "y")), times=1) == [OK]
    await running.stop(0)


MAKERS: Sequence[Callable[[int], Limit]] = (
    lambda amount: FixedWindow(amount, 60 * SECOND),
    lambda amount: Gcra(amount, 60 * SECOND, 10 * SECOND),
)


@pytest.mark.parametrize("make", MAKERS)
async def test_a_limit_beyond_the_wire_is_shown_as_the_most_that_it_can_show(
    asked: Asked, make: Callable[[int], Limit]
) -> None:
    domain(asked, {(("key", None),): Rule("huge", make(10**12))})
    status = (await asked.ask(descriptor(("key", "a")))).statuses[0]
    assert status.current_limit.requests_per_unit == status.limit_remaining == UNLIMITED
