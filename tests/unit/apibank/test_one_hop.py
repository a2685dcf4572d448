"""The limiter as authorization's port: what is charged, how it is said, and what becomes of changes and losses."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from apibank.one_hop import OneHop
from authz.limits import Counted, Counting
from authz.reasons import Reason
from policy.limit_shapes import LimitShape, shapes_of
from policy.model import Gateway
from ratelimit.answer import problem_body
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.rules import Rule
from ratelimit.store import Charge, Loss, Outcome, Unavailable
from tests.property.one_hop.hops import DistantStore
from tests.unit.authz.world import policy

SECOND = 1_000_000
LIMITS: Mapping[str, Any] = {
    "minute": {
        "tiers": {"free": 2, "business": "unlimited"},
        "tenants": {"acme": 5},
        "code": "too_fast",
        "refusal": "Slow down",
    },
    "addresses": {"per": "address", "requests": 3},
    "open": {"requests": 3, "on_store_failure": "open"},
}


def gateway(headers: str = "always", **limits: Any) -> Gateway:
    services = {
        "authz": {"endpoint": "unix:/a"},
        "ratelimit": {"endpoint": "unix:/b", "headers": headers, "answered_by": "authz"},
    }
    return policy(services=services, limits={**LIMITS, **limits})


@dataclass
class Desk:
    """The port over a limiter whose clock stands still."""

    written: Gateway
    distant: bool = False
    size: int = 4096

    def __post_init__(self) -> None:
        self.clock = [1_800_000_000 * SECOND]
        self.counters = MemoryStore(steady=lambda: self.clock[0], wall=lambda: self.clock[0])
        self.store = DistantStore(self.counters)
        self.registry = CollectorRegistry()
        self.limiter = RateLimiter(
            self.store if self.distant else self.counters, RateLimitMetrics(self.registry), strict=True
        )
        self.limiter.replace_rules(self.written)
        self.port = OneHop("marketing", self.limiter, self.size)

    def asked(self, *limits: str, tier: str = "free", caller: str = "sub:jane", address: str = "192.0.2.7") -> Counting:
        return Counting(shapes_of(self.written, limits or ("minute",)), tier, caller, address)

    def now(self, *limits: str, **who: str) -> Counted:
        (counted,) = asyncio.run(self.port.count([self.asked(*limits, **who)]))
        return counted

    def sample(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


def reason(counted: Counted) -> Reason | None:
    return None if counted.refusal is None else counted.refusal.reason


def test_counters_are_charged_and_refuse_when_they_are_empty() -> None:
    desk = Desk(gateway())
    assert [reason(desk.now()) for _ in range(3)] == [None, None, Reason.RATE_LIMITED]
    assert reason(desk.now(caller="sub:joe")) is None
    assert reason(desk.now(tier="business")) is None


def test_a_refusal_says_what_the_rate_limit_service_would_have_said() -> None:
    desk = Desk(gateway())
    counted = [desk.now() for _ in range(3)][-1]
    refusal = counted.refusal
    assert refusal is not None
    said = json.loads(problem_body(Rule("minute", None, code="too_fast", refusal="Slow down")))
    assert (refusal.code, refusal.sentence, refusal.title, refusal.status) == (
        said["code"],
        said["detail"],
        said["title"],
        said["status"],
    )
    assert dict(counted.headers) == {
        "ratelimit": '"minute";r=0;t=60',
        "ratelimit-policy": '"minute";q=2;w=60',
        "x-ratelimit-limit": "2",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "60",
        "retry-after": "60",
    }
    assert refusal.cause == "limit minute"


def test_answers_say_what_is_left_where_the_policy_has_them_say_so() -> None:
    assert dict(Desk(gateway()).now().headers)["x-ratelimit-remaining"] == "1"
    quiet = Desk(gateway("refusal"))
    assert [quiet.now().headers for _ in range(2)] == [(), ()]
    assert dict(quiet.now().headers)["retry-after"] == "60"


@pytest.mark.requirement("R42")
def test_what_one_limit_refuses_no_other_is_charged_for() -> None:
    desk = Desk(gateway())
    assert [reason(desk.now("minute", "addresses")) for _ in range(5)] == [None, None, *[Reason.RATE_LIMITED] * 3]
    # Two of the address's three are used, and not five.
    assert reason(desk.now("addresses")) is None
    assert reason(desk.now("addresses")) is Reason.RATE_LIMITED


@pytest.mark.parametrize(
    ("who", "admitted"),
    [
        ({"caller": "tenant:acme"}, 5),
        ({"tier": "golden"}, 0),
        ({"tier": ""}, 0),
        ({"caller": ""}, 0),
        ({"caller": "unknown"}, 0),
    ],
    ids=str,
)
def test_who_is_counted_is_who_the_policy_says(who: dict[str, str], admitted: int) -> None:
    desk = Desk(gateway())
    assert sum(reason(desk.now(**who)) is None for _ in range(9)) == admitted


def test_a_limit_of_an_address_counts_addresses() -> None:
    desk = Desk(gateway())
    statuses = [reason(desk.now("addresses", caller=f"sub:{number}")) for number in range(4)]
    assert statuses == [None, None, None, Reason.RATE_LIMITED]
    assert reason(desk.now("addresses", address="192.0.2.8")) is None


@pytest.mark.parametrize("distant", [False, True], ids=["in memory", "elsewhere"])
def test_what_has_counters_waits_for_the_others_of_its_batch_and_what_has_none_does_not(distant: bool) -> None:
    desk = Desk(gateway(), distant=distant)
    assert desk.port.count_now(desk.asked()) is None
    assert len(desk.counters) == 0
    assert desk.port.count_now(desk.asked(tier="business")) == Counted(None)


class Remembering(DistantStore):
    """Knows of some counters without asking that they are used up."""

    def charge_now(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable] | None:
        return [Outcome(False, [(False, 0, SECOND, SECOND)] * len(charges)) for charges in requests]


def test_what_a_store_refuses_from_memory_is_refused_at_once() -> None:
    desk = Desk(gateway())
    desk.limiter = RateLimiter(Remembering(desk.counters), RateLimitMetrics(CollectorRegistry()), strict=True)
    desk.limiter.replace_rules(desk.written)
    counted = OneHop("marketing", desk.limiter).count_now(desk.asked())
    assert counted is not None
    assert reason(counted) is Reason.RATE_LIMITED


async def test_what_waits_together_is_charged_in_one_round_trip_each_as_if_alone() -> None:
    desk = Desk(gateway(), distant=True)
    counted = await desk.port.count([desk.asked(), desk.asked(caller="sub:joe"), desk.asked(), desk.asked()])
    assert [reason(each) for each in counted] == [None, None, None, Reason.RATE_LIMITED]
    assert desk.store.trips == [4]
    assert desk.sample("apibank_ratelimit_decisions_total", domain="marketing", limit="minute", outcome="admitted") == 3
    assert desk.sample("apibank_ratelimit_decisions_total", domain="marketing", limit="minute", outcome="refused") == 1
    assert desk.sample("apibank_ratelimit_decision_seconds_count") == 4


async def test_while_the_store_is_lost_each_limit_fails_as_its_policy_says() -> None:
    desk = Desk(gateway(), distant=True)
    desk.store.lost = Loss.UNREACHABLE
    closed, opened, both = await desk.port.count(
        [desk.asked("minute"), desk.asked("open"), desk.asked("minute", "open")]
    )
    assert [reason(each) for each in (closed, opened, both)] == [
        Reason.LIMITS_UNAVAILABLE,
        None,
        Reason.LIMITS_UNAVAILABLE,
    ]
    assert (opened.headers, opened.charged) == ((), False)
    assert closed.refusal is not None
    assert (closed.refusal.status, closed.refusal.cause) == (503, "store unreachable")


async def test_what_the_process_counted_while_the_store_was_lost_is_not_given_back_by_the_store() -> None:
    desk = Desk(gateway(local={"requests": 3, "on_store_failure": "local"}), distant=True)
    (charged,) = await desk.port.count([desk.asked("local")])
    desk.store.lost = Loss.TIMEOUT
    (counted,) = await desk.port.count([desk.asked("local")])
    assert [reason(each) for each in (charged, counted)] == [None, None]
    assert [each.charged for each in (charged, counted)] == [True, False]


async def test_a_fault_of_ours_refuses_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(gateway(), distant=True)

    async def broken(_: object) -> list[object]:
        raise RuntimeError("nobody has foreseen this")

    monkeypatch.setattr(desk.store, "charge_many", broken)
    (counted,) = await desk.port.count([desk.asked()])
    assert reason(counted) is Reason.LIMITS_UNAVAILABLE
    assert desk.sample("apibank_ratelimit_failures_total") == 1


def test_what_is_given_back_can_be_had_again() -> None:
    desk = Desk(gateway())
    assert [desk.now("minute", "addresses").charged for _ in range(3)] == [True, True, False]
    asyncio.run(desk.port.give_back([desk.asked("minute", "addresses")] * 2))
    assert [reason(desk.now("minute", "addresses")) for _ in range(3)] == [None, None, Reason.RATE_LIMITED]


def test_a_changed_figure_holds_from_the_next_request_on_and_keeps_the_counter() -> None:
    desk = Desk(gateway())
    assert reason(desk.now()) is None
    desk.limiter.replace_rules(gateway(minute={"tiers": {"free": 3}}))
    assert [reason(desk.now()) for _ in range(3)] == [None, None, Reason.RATE_LIMITED]


def test_a_limit_that_only_an_earlier_version_has_goes_on_counting() -> None:
    desk = Desk(gateway())
    renamed = {name: limit for name, limit in LIMITS.items() if name != "minute"}
    desk.limiter.replace_rules(policy(limits=renamed))
    assert [reason(desk.now()) for _ in range(3)] == [None, None, Reason.RATE_LIMITED]


def test_a_limit_that_nobody_has_ever_known_is_refused() -> None:
    desk = Desk(gateway())
    unheard = desk.asked()._replace(limits=(LimitShape("unheard-of", False, LIMITS_PER_CALLER),))
    (counted,) = asyncio.run(desk.port.count([unheard]))
    assert reason(counted) is Reason.RATE_LIMITED


LIMITS_PER_CALLER = shapes_of(gateway(), ("minute",))[0].per


def test_many_callers_do_not_grow_the_memory() -> None:
    desk = Desk(gateway(), size=10)
    for number in range(100):
        desk.now(caller=f"sub:{number}")
    desk.now(address="x" * 5000)
    plans = desk.port._plans
    assert len(plans._young) + len(plans._old) <= 20
    assert max(len(each.address) for each in (*plans._young, *plans._old)) < 100
