"""Rules in force: replaced whole or not at all, and a service that says when it cannot serve."""

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from policy.limits import Limit
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from ratelimit.algorithms import FixedWindow
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Descriptor, Request
from ratelimit.rules import DomainRules, Node, Rule
from ratelimit.store import Outcome

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"


@pytest.fixture
def limiter() -> RateLimiter:
    return RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry()))


def marketing() -> Gateway:
    path = GATEWAYS / "marketing.yaml"
    return load_gateway(Gateway, Source(path.name, path.read_text("utf-8"))).gateway


async def free_day_left(limiter: RateLimiter) -> int:
    usage = await limiter.usage("marketing", [(("limit", "day"), ("tier", "free"), ("caller", "sub:jane"))])
    assert isinstance(usage, list)
    assert usage[0] is not None
    return int(usage[0].remaining)


async def test_without_rules_nobody_is_limited_and_it_is_not_ready(limiter: RateLimiter) -> None:
    assert not await limiter.ready()
    limiter.replace_rules(marketing())
    assert await limiter.ready()
    assert await free_day_left(limiter) == 10


async def test_a_policy_that_cannot_be_counted_changes_nothing(limiter: RateLimiter) -> None:
    limiter.replace_rules(marketing())
    nowhere = Limit.model_construct(**{**dict(marketing().limits["day"]), "time_zone": "Mars/Olympus"})
    with pytest.raises(ValueError, match="Mars/Olympus"):
        limiter.replace_rules(marketing().model_copy(update={"limits": {"day": nowhere}}))
    assert await free_day_left(limiter) == 10


async def test_requests_are_decided_in_their_order_whether_they_count_or_not(limiter: RateLimiter) -> None:
    limiter.install(DomainRules("d", Node(any_value={"k": Node(Rule("r", FixedWindow(1, 10**12)))})))
    counted, free = (limiter.plan(Request("d", (Descriptor(((key, "v"),)),))) for key in ("k", "other"))
    outcomes = await limiter.decide_many([free, counted, counted, free, counted])
    assert [outcome.admitted for outcome in outcomes if isinstance(outcome, Outcome)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert [len(outcome.readings) for outcome in outcomes if isinstance(outcome, Outcome)] == [0, 1, 1, 0, 1]
