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


def renamed(**names: str) -> Gateway:
    """Marketing with some limits under other names."""
    policy = marketing()
    return policy.model_copy(update={"limits": {names.get(name, name): each for name, each in policy.limits.items()}})


def with_day(**fields: object) -> Gateway:
    policy = marketing()
    return policy.model_copy(update={"limits": {**policy.limits, "day": Limit.model_validate(fields)}})


async def admitted_of(limiter: RateLimiter, times: int, limit: str, **subject: str) -> int:
    subject = subject or {"tier": "free", "caller": "sub:jane"}
    planned = limiter.plan(Request("marketing", (Descriptor((("limit", limit), *subject.items())),)))
    outcomes = await limiter.decide_many([planned] * times)
    return sum(outcome.admitted for outcome in outcomes if isinstance(outcome, Outcome))


@pytest.mark.requirement("R42", "R70")
async def test_a_limit_is_held_under_its_old_name_while_envoy_has_not_heard_of_the_new_one(
    limiter: RateLimiter,
) -> None:
    limiter.replace_rules(marketing())
    assert await admitted_of(limiter, 4, "day") == 4
    limiter.replace_rules(renamed(day="daily"))
    # The counter is the one that it was.
    assert await free_day_left(limiter) == 6
    assert await admitted_of(limiter, 150, "day") == 6
    assert await admitted_of(limiter, 150, "daily") == 10


async def test_a_name_that_two_versions_have_counts_by_the_newer(limiter: RateLimiter) -> None:
    limiter.replace_rules(marketing())
    limiter.replace_rules(with_day(unit="day", tiers={"free": 3}))
    assert await admitted_of(limiter, 20, "day") == 3
    # What the newer one admits no more is not looked up in the older.
    assert await admitted_of(limiter, 20, "day", tier="business", caller="sub:joe") == 0


async def test_a_limit_that_takes_another_shape_counts_descriptors_of_either(limiter: RateLimiter) -> None:
    limiter.replace_rules(marketing())
    limiter.replace_rules(with_day(unit="day", requests=3))
    assert await admitted_of(limiter, 20, "day") == 10
    assert await admitted_of(limiter, 20, "day", caller="sub:jane") == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"unit": "minute", "requests": 10}, {"unit": "hour", "requests": 10}),
        ({"unit": "day", "requests": 10}, {"unit": "month", "requests": 10}),
        (
            {"unit": "minute", "requests": 10, "algorithm": "sliding_window"},
            {"unit": "hour", "requests": 10, "algorithm": "sliding_window"},
        ),
        (
            {"unit": "minute", "requests": 10, "algorithm": "gcra"},
            {"unit": "day", "requests": 10, "algorithm": "gcra"},
        ),
    ],
    ids=str,
)
async def test_processes_that_disagree_about_the_unit_void_neither_s_limit(
    one: dict[str, object], other: dict[str, object]
) -> None:
    noon = 1_764_072_000_000_000
    store = MemoryStore(steady=lambda: noon, wall=lambda: noon)
    limiters = [RateLimiter(store, RateLimitMetrics(CollectorRegistry())) for _ in range(2)]
    for limiter, written in zip(limiters, (one, other), strict=True):
        limiter.replace_rules(with_day(**written))
    alone = [await admitted_of(limiter, 20, "day", caller="sub:alone") for limiter in limiters]
    admitted = [0, 0]
    for _ in range(50):
        for index, limiter in enumerate(limiters):
            admitted[index] += await admitted_of(limiter, 1, "day", caller="sub:jane")
    assert admitted == alone


@pytest.mark.requirement("R70")
async def test_a_name_that_sixteen_later_versions_do_not_have_is_refused(limiter: RateLimiter) -> None:
    limiter.replace_rules(marketing())
    for _ in range(15):
        limiter.replace_rules(renamed(day="daily"))
    assert await admitted_of(limiter, 1, "day") == 1
    limiter.replace_rules(renamed(day="daily"))
    assert await admitted_of(limiter, 20, "day") == 0
    assert await admitted_of(limiter, 20, "daily") == 10


async def test_earlier_versions_are_kept_within_a_bound(limiter: RateLimiter) -> None:
    for index in range(50):
        limiter.replace_rules(renamed(day=f"day-{index}"))
    assert len(limiter._domains["marketing"].earlier) == 15


@pytest.mark.requirement("R70")
@pytest.mark.parametrize(
    ("limit", "subject"), [("other", {}), ("day", {"tier": "free"}), ("day", {"caller": "sub:jane"})]
)
async def test_what_a_policy_has_no_rule_for_is_refused(
    limiter: RateLimiter, limit: str, subject: dict[str, str]
) -> None:
    limiter.replace_rules(marketing())
    assert await admitted_of(limiter, 20, limit, **subject) == 0


async def test_a_domain_that_is_not_a_policys_lets_pass_what_it_does_not_know(limiter: RateLimiter) -> None:
    limiter.install(DomainRules("marketing", Node(any_value={"limit": Node(Rule("r", FixedWindow(1, 10**12)))})))
    assert await admitted_of(limiter, 20, "day", tier="free") == 20
    limiter.install(DomainRules("marketing", Node()))
    assert await admitted_of(limiter, 20, "day") == 20
    assert limiter._domains["marketing"].earlier == ()


@pytest.mark.parametrize("strict", [True, False])
async def test_a_domain_that_nobody_put_in_force_passes_only_where_the_service_is_not_strict(strict: bool) -> None:
    limiter = RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry()), strict=strict)
    limiter.replace_rules(marketing())
    asked = Request("sales", (Descriptor((("limit", "requests"), ("tier", "free"), ("caller", "sub:jane"))),))
    (decision,) = await limiter.decide_many([limiter.plan(asked)])
    assert isinstance(decision, Outcome)
    assert decision.admitted is not strict
    # The name of the domain is data of the request: it becomes no label and no counter.
    assert limiter.plan(asked).domain in {None, ""}


async def test_a_candidate_s_limits_count_beside_the_current_ones_whose_figures_stand(limiter: RateLimiter) -> None:
    limiter.replace_rules(marketing())
    limiter.admit_candidate(renamed(day="daily"))
    assert await admitted_of(limiter, 20, "daily") == 10
    limiter.admit_candidate(with_day(unit="day", tiers={"free": 3}))
    assert await admitted_of(limiter, 20, "day") == 10


async def test_a_candidate_stands_beside_nothing_where_nothing_is_in_force(limiter: RateLimiter) -> None:
    with pytest.raises(ValueError, match="marketing"):
        limiter.admit_candidate(marketing())
