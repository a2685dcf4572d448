"""What is left of the limits: asked of real services, charged to nobody, and named where it cannot be had."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from apibank.published import Published
from apibank.usage.desk import LimitDesk
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from portal.limits_api import UsageQuestion
from portal.problems import Refused
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Descriptor, Request
from ratelimit.server import serve
from ratelimit.store import Loss, Outcome
from tests.property.one_hop.hops import DistantStore

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"
Row = Mapping[str, Any]
# Noon of a day, in microseconds: nothing is regained while a test runs.
NOW = 1_800_000 * 1_000_000 * 1_000 // 86_400_000_000 * 86_400_000_000 + 43_200_000_000


@dataclass
class Counting:
    """One gateway's process, and the desk that asks it."""

    desk: LimitDesk
    limiter: RateLimiter
    states: dict[str, Published]
    registry: CollectorRegistry

    async def charge(self, gateway: str, hits: int, **entries: str) -> bool:
        plan = self.limiter.plan(Request(gateway, (Descriptor(tuple(entries.items()), hits),)))
        (outcome,) = await self.limiter.decide_many([plan])
        return isinstance(outcome, Outcome) and outcome.admitted

    async def usage(self, **question: object) -> list[Row]:
        answer = await self.desk.usage(UsageQuestion.model_validate(question))
        assert answer["unanswered"] == []
        return cast(list[Row], answer["usage"])


def policy(name: str, endpoint: str, **changes: object) -> Gateway:
    file = GATEWAYS / f"{name}.yaml"
    overlay = {"profile": "t", "gateways": {name: {"services": {"ratelimit": {"endpoint": endpoint}}, **changes}}}
    return load_gateway(
        Gateway, Source(file.name, file.read_text()), [Source("t.yaml", yaml.safe_dump(overlay))]
    ).gateway


@pytest.fixture
async def counting() -> AsyncIterator[Counting]:
    registry = CollectorRegistry()
    limiter = RateLimiter(MemoryStore(steady=lambda: NOW, wall=lambda: NOW), RateLimitMetrics(registry), strict=True)
    running = await serve(limiter, "127.0.0.1:0")
    endpoint = f"127.0.0.1:{running.port}"
    states: dict[str, Published] = {}
    for name in ("central", "marketing", "agents"):
        gateway = policy(name, endpoint)
        limiter.replace_rules(gateway)
        states[name] = Published(gateway=gateway)
    try:
        yield Counting(LimitDesk(states), limiter, states, registry)
    finally:
        await running.stop()


@pytest.mark.requirement("R120")
async def test_usage_shows_what_is_left_of_each_limit_of_a_caller(counting: Counting) -> None:
    await counting.charge("marketing", 3, limit="day", tier="free", caller="tenant:acme")
    rows = {(row["limit"], row["tier"]): row for row in await counting.usage(gateway="marketing", tenant="acme")}
    day = rows["day", "free"]
    assert (day["figure"], day["unit"], day["remaining"], day["counted_as"]) == (10, "day", 7, "tenant:acme")
    assert day["retry_after_seconds"] == 0
    assert day["reset_seconds"] == 12 * 3600
    # From idle a burst of 1 + 100 / 6; nothing was charged.
    assert (rows["requests", "free"]["remaining"], rows["requests", "free"]["reset_seconds"]) == (17, 0)
    assert (rows["day", "business"]["figure"], rows["day", "business"]["remaining"]) == (None, None)


async def test_asking_charges_nothing_however_often_and_counts_as_asking(counting: Counting) -> None:
    for _ in range(30):
        (row,) = await counting.usage(gateway="marketing", tenant="acme", limit="day", tier="free")
        assert row["remaining"] == 10
    figures = generate_latest(counting.registry).decode()
    assert 'limit="day",outcome="asked"} 30.0' in figures
    assert 'outcome="admitted"' not in figures


async def test_a_limit_that_is_used_up_says_when_the_next_request_passes(counting: Counting) -> None:
    await counting.charge("marketing", 17, limit="requests", tier="free", caller="sub:jane")
    (row,) = await counting.usage(gateway="marketing", subject="jane", limit="requests", tier="free")
    assert row["remaining"] == 0
    assert row["retry_after_seconds"] == pytest.approx(0.2)


async def test_usage_says_of_a_limit_in_shadow_that_it_refuses_nobody(counting: Counting) -> None:
    before = counting.states["marketing"].gateway
    assert before is not None
    gateway = policy("marketing", before.services.ratelimit.endpoint, limits={"day": {"shadow": True}})
    counting.limiter.replace_rules(gateway)
    counting.states["marketing"] = Published(gateway=gateway)
    await counting.charge("marketing", 10, limit="day", tier="free", caller="sub:jane")
    requests, day = await counting.usage(gateway="marketing", subject="jane", tier="free")
    assert (requests["limit"], requests["shadow"]) == ("requests", False)
    assert (day["limit"], day["shadow"], day["remaining"], day["retry_after_seconds"]) == ("day", True, 0, 0)


async def test_a_tier_without_figures_is_shown_as_refused(counting: Counting) -> None:
    (row,) = await counting.usage(gateway="marketing", subject="jane", limit="requests", tier="internal")
    assert (row["figure"], row["remaining"], row["retry_after_seconds"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("kind", "value", "counted"),
    [
        ("subject", "jane", "sub:jane"),
        ("tenant", "jane", "tenant:jane"),
        ("partner", "jane", "partner:jane"),
        ("agent", "jane", "agent:jane"),
        ("address", "192.0.2.1", "address:192.0.2.1"),
        ("address", "2001:db8::1:2:3:4", "address:2001:db8::"),
    ],
)
async def test_every_kind_of_caller_has_a_counter_of_its_own(
    kind: str, value: str, counted: str, counting: Counting
) -> None:
    await counting.charge("central", 1, limit="subject", tier="free", caller=counted)
    for other in ("subject", "tenant", "partner", "agent"):
        (row,) = await counting.usage(gateway="central", limit="subject", tier="free", **{other: "jane"})
        assert row["remaining"] == (166 if (other, "jane") == (kind, value) else 167)
    (row,) = await counting.usage(gateway="central", limit="subject", tier="free", **{kind: value})
    assert (row["remaining"], row["counted_as"]) == (166, counted)


async def test_limits_by_address_are_shown_to_who_asks_for_an_address(counting: Counting) -> None:
    await counting.charge("central", 7, limit="address", address="192.0.2.1")
    (row,) = await counting.usage(gateway="central", limit="address", address="192.0.2.1")
    assert (row["remaining"], row["counted_as"], row["tier"]) == (160, "192.0.2.1", None)


async def test_an_address_is_shown_under_the_limits_of_callers_only_where_it_may_pass_unknown(
    counting: Counting,
) -> None:
    assert {row["limit"] for row in await counting.usage(gateway="central", address="::1")} == {"fleet", "address"}
    now = counting.states["central"].gateway
    assert now is not None
    counting.states["central"] = Published(
        gateway=policy("central", now.services.ratelimit.endpoint, routes={"sales": {"mode": "optional"}})
    )
    assert "subject" in {row["limit"] for row in await counting.usage(gateway="central", address="::1")}


async def test_what_all_share_is_shown_to_everybody(counting: Counting) -> None:
    (row,) = await counting.usage(gateway="central")
    assert (row["limit"], row["figure"], row["counted_as"]) == ("fleet", 100_000, None)


async def test_a_tenants_own_figure_is_shown_under_its_name(counting: Counting) -> None:
    endpoint = counting.states["marketing"].gateway
    assert endpoint is not None
    own = {"requests": {"tenants": {"acme": 3000}}}
    gateway = policy("marketing", endpoint.services.ratelimit.endpoint, limits=own)
    counting.limiter.replace_rules(gateway)
    counting.states["marketing"] = Published(gateway=gateway)
    (acme,) = await counting.usage(gateway="marketing", tenant="acme", limit="requests", tier="enterprise")
    (other,) = await counting.usage(gateway="marketing", tenant="other", limit="requests", tier="enterprise")
    assert (acme["figure"], other["figure"]) == (3000, 500)
    listed = {row["limit"]: row for row in await counting.desk.limits("marketing")}
    assert listed["requests"]["tenants"] == {"acme": 3000}
    assert listed["requests"]["at_once"] == {"free": 17, "business": 84, "enterprise": 84}
    assert listed["day"]["figures"] == {"free": 10, "business": None, "enterprise": None}


async def test_all_gateways_are_asked_that_take_such_callers(counting: Counting) -> None:
    assert {row["gateway"] for row in await counting.usage(tenant="acme")} == {"central", "marketing"}
    assert {row["gateway"] for row in await counting.usage(agent="vision")} == {"central", "agents"}


async def test_a_gateway_that_does_not_answer_hides_no_other(counting: Counting) -> None:
    counting.states["marketing"] = Published(gateway=policy("marketing", "127.0.0.1:1"))
    answer = await counting.desk.usage(UsageQuestion(tenant="acme"))
    assert {row["gateway"] for row in cast(list[Row], answer["usage"])} == {"central"}
    (silent,) = cast(list[Row], answer["unanswered"])
    assert silent["gateway"] == "marketing"
    assert "127.0.0.1:1" in silent["detail"]
    with pytest.raises(Refused) as refused:
        await counting.desk.usage(UsageQuestion(gateway="marketing", tenant="acme"))
    assert (refused.value.status, refused.value.code) == (503, "usage_unavailable")


@pytest.mark.parametrize(("mode", "said"), [("open", "their store is away"), ("closed", "cannot be reached")])
async def test_what_nobody_counts_is_not_shown_as_used_up(mode: str, said: str, counting: Counting) -> None:
    now = counting.states["marketing"].gateway
    assert now is not None
    modes = {name: {"on_store_failure": mode} for name in now.limits}
    gateway = policy("marketing", now.services.ratelimit.endpoint, limits=modes)
    counting.states["marketing"] = Published(gateway=gateway)
    counting.limiter.replace_rules(gateway)
    store = DistantStore(MemoryStore())
    counting.limiter._store = store
    assert await counting.usage(gateway="marketing", tenant="acme")
    store.lost = Loss.UNREACHABLE
    with pytest.raises(Refused, match=said):
        await counting.desk.usage(UsageQuestion(gateway="marketing", tenant="acme"))


async def test_a_process_that_has_not_read_its_file_yet_is_said_not_to_know(counting: Counting) -> None:
    endpoint = counting.states["marketing"].gateway
    assert endpoint is not None
    week = {"week": {"unit": "week", "requests": 9}}
    ahead = policy("marketing", endpoint.services.ratelimit.endpoint, limits=week)
    counting.states["marketing"] = Published(gateway=ahead)
    with pytest.raises(Refused, match="does not know week yet"):
        await counting.desk.usage(UsageQuestion(gateway="marketing", tenant="acme"))


@pytest.mark.parametrize(
    ("question", "status", "said"),
    [
        ({"gateway": "nowhere"}, 404, "agents, central, marketing"),
        ({"gateway": "marketing", "limit": "hour", "tenant": "a"}, 404, "day, requests"),
        ({"limit": "hour", "tenant": "a"}, 404, "address, day, fleet, requests, subject"),
        ({"gateway": "marketing", "limit": "day"}, 422, "name a subject, tenant, partner or agent"),
        ({"gateway": "central", "limit": "address", "tenant": "a"}, 422, "name an address"),
        ({"gateway": "central", "address": "10.0.0.0/8"}, 422, "is no IP address"),
    ],
)
async def test_what_there_is_is_named_where_a_question_names_what_is_not(
    question: dict[str, object], status: int, said: str, counting: Counting
) -> None:
    with pytest.raises(Refused, match=said) as refused:
        await counting.desk.usage(UsageQuestion.model_validate(question))
    assert refused.value.status == status


async def test_an_address_that_is_none_is_told_with_its_place(counting: Counting) -> None:
    with pytest.raises(Refused) as refused:
        await counting.desk.usage(UsageQuestion(address="jane"))
    assert refused.value.errors == [{"pointer": "/address", "rule": "'jane' is no IP address"}]


@pytest.mark.parametrize(
    "question", [{"tier": "gold"}, {"tenant": "a", "subject": "b"}, {"tenent": "a"}, {"tenant": ""}]
)
def test_a_question_is_about_one_caller_and_a_tier_that_there_is(question: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UsageQuestion.model_validate(question)
