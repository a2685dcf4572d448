"""The matrix of limits (R69), counted to its end through real Envoys: who passes how often, and what then is said."""

from collections.abc import Callable
from functools import partial

import httpx2
import pytest

from tests.e2e.test_agents import Agent, message
from tests.support.client import CONTENT, Client, problem
from tests.support.limits import TENANT, Counters
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

Send = Callable[[], httpx2.Response]

PATHS = {"marketing": "/api/marketing/content", "education": "/api/education/math", "sales": "/api/sales/leads"}
ADMITTED = [
    ("marketing", "free", 100),
    ("marketing", "business", 500),
    ("marketing", "enterprise", 500),
    ("education", "free", 200),
    ("education", "business", 1000),
    ("education", "enterprise", 1000),
    ("sales", "free", 50),
    ("sales", "business", 200),
    ("sales", "enterprise", 200),
]
CENTRAL = [("free", 1000), ("business", 5000), ("enterprise", 5000)]
DENIED = [
    *(("platform", tier) for tier in ("free", "business", "enterprise")),
    *(("agents", tier) for tier in ("free", "business", "enterprise")),
    *((gateway, "internal") for gateway in ("marketing", "education", "sales")),
]


def passes_twice(send: Send) -> list[httpx2.Response]:
    """The answers to three requests of a caller who has two left."""
    answers = [send() for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429], answers[-1].text
    return answers


def says_what_is_left(answers: list[httpx2.Response], figure: int, name: str = "requests") -> None:
    """What the answers' headers tell of a limit of which two were left (draft-ietf-httpapi-ratelimit-headers-10)."""
    for answer, left in zip(answers, (1, 0, 0), strict=True):
        assert answer.headers["x-ratelimit-limit"] == str(figure)
        assert answer.headers["x-ratelimit-remaining"] == str(left)
        assert f'"{name}";q={figure};w=86400' in answer.headers["ratelimit-policy"]
        assert f'"{name}";r={left};t=' in answer.headers["ratelimit"]
    assert "retry-after" not in answers[0].headers


def is_refused(answer: httpx2.Response, code: str = "rate_limited", detail: str = "Too many requests") -> None:
    body = problem(answer)
    assert (answer.status_code, body["code"], body["detail"]) == (429, code, detail)
    # Until midnight, in whole seconds rounded up.
    assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert int(answer.headers["retry-after"]) == int(answer.headers["x-ratelimit-reset"])
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.requirement("R3", "R39", "R47", "R54", "R69", "R76", "R77", "R104")
@pytest.mark.parametrize(("gateway", "tier", "figure"), ADMITTED)
def test_a_tier_is_admitted_as_often_as_its_figure_says(
    gateway: str, tier: str, figure: int, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of(gateway, fresh, sub=subject, tier=tier)
    assert counters.remaining(gateway, "requests", subject=subject, tier=tier) == figure
    assert counters.charge(gateway, figure - 2, limit="requests", tier=tier, caller=f"sub:{subject}")
    before = client.hits(gateway)
    answers = passes_twice(partial(client.call, "GET", PATHS[gateway], token=token))
    says_what_is_left(answers, figure)
    is_refused(answers[-1])
    assert client.hits(gateway) == before + 2


@pytest.mark.requirement("R69", "R70")
@pytest.mark.parametrize(("tier", "figure"), CENTRAL)
def test_central_admits_a_caller_as_often_as_its_tier_says_and_bothers_no_domain_then(
    tier: str, figure: int, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("education", fresh, sub=subject, tier=tier)
    assert counters.charge("central", figure - 2, limit="subject", tier=tier, caller=f"sub:{subject}")
    *_, refused = passes_twice(partial(client.call, "GET", PATHS["education"], token=token))
    is_refused(refused)
    assert f'"subject";q={figure};w=86400' in refused.headers["ratelimit-policy"]
    left = counters.usage("education", "requests", subject=subject, tier=tier)
    assert left["remaining"] == left["figure"] - 2


@pytest.mark.requirement("R69")
def test_central_admits_internal_callers_a_hundred_thousand_times(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    admin = fresh("admin")
    assert counters.charge("central", 99_998, limit="subject", tier="internal", caller=f"sub:{admin}")
    token = tokens.admin(fresh, sub=admin)
    is_refused(passes_twice(partial(client.call, "GET", "/api/platform/metrics", token=token))[-1])
    assert counters.remaining("platform", "requests", subject=admin, tier="internal") == 98


@pytest.mark.requirement("R61", "R69")
def test_an_agent_is_admitted_ten_thousand_times(client: Client, stack: Stack, counters: Counters) -> None:
    agent = Agent(client, stack, "planning")
    assert counters.charge("agents", 9_998, limit="requests", tier="internal", caller="agent:planning")
    answers = passes_twice(partial(agent.send, "POST", "/api/agents/memory", message("planning")))
    says_what_is_left(answers, 10_000)
    is_refused(answers[-1])
    other = Agent(client, stack, "learning").send("POST", "/api/agents/memory", message("learning"))
    assert other.status_code == 200


@pytest.mark.requirement("R70")
@pytest.mark.parametrize(("gateway", "tier"), DENIED)
def test_a_tier_that_is_not_admitted_has_no_figure_and_is_refused_without_being_counted(
    gateway: str, tier: str, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    left = counters.usage(gateway, "requests", subject=subject, tier=tier)
    assert (left["figure"], left["remaining"], left["retry_after_seconds"]) == (0, 0, None)
    if gateway == "agents":
        return  # No token is taken there: test_agents.
    mint = partial(tokens.admin, fresh) if gateway == "platform" else partial(tokens.of, gateway, fresh)
    path = PATHS.get(gateway, "/api/platform/metrics")
    answer = client.call("GET", path, token=mint(sub=subject, tier=tier))
    assert (answer.status_code, problem(answer)["code"]) == (403, "tier_not_admitted")


@pytest.mark.requirement("R42", "R104")
def test_the_free_day_of_marketing_binds_before_its_hundred(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject, tier="free")
    statuses = [client.call("POST", PATHS["marketing"], token=token, json=CONTENT).status_code for _ in range(10)]
    assert statuses == [200] * 10
    refused = client.call("POST", PATHS["marketing"], token=token, json=CONTENT)
    is_refused(refused, "daily_limit_reached", "Daily limit reached (upgrade to Business)")
    # Both limits speak, the one that refuses first.
    assert refused.headers["ratelimit"].startswith('"day";r=0;t=')
    assert '"requests";r=90;t=' in refused.headers["ratelimit"]
    assert counters.remaining("marketing", "requests", subject=subject, tier="free") == 90


@pytest.mark.requirement("R34")
def test_administration_is_limited_inside_the_platforms_own_limit(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    admin = fresh("admin")
    token = tokens.admin(fresh, sub=admin)
    assert counters.charge("platform", 48, limit="admin", tier="internal", caller=f"sub:{admin}")
    answers = passes_twice(partial(client.call, "GET", "/api/platform/admin/logs", token=token))
    says_what_is_left(answers, 50, "admin")
    # The refused one cost the outer limit nothing, and what is no administration goes on.
    assert counters.remaining("platform", "requests", subject=admin, tier="internal") == 98
    assert counters.charge("platform", 96, limit="requests", tier="internal", caller=f"sub:{admin}")
    is_refused(passes_twice(partial(client.call, "GET", "/api/platform/metrics", token=token))[-1])
    # The outer limit holds for administration too, and costs the inner one nothing.
    other = fresh("admin")
    assert counters.charge("platform", 100, limit="requests", tier="internal", caller=f"sub:{other}")
    is_refused(client.call("GET", "/api/platform/admin/logs", token=tokens.admin(fresh, sub=other)))
    assert counters.remaining("platform", "admin", subject=other, tier="internal") == 50


@pytest.mark.requirement("R39", "R47", "R54", "R69")
@pytest.mark.parametrize(("gateway", "figure"), [("marketing", 7), ("education", 8), ("sales", 9)])
def test_a_tenant_with_a_contract_has_its_own_figure_and_its_people_share_it(
    gateway: str, figure: int, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    people = [tokens.of(gateway, fresh, tier="enterprise", tenant_id=TENANT) for _ in range(2)]
    turns = [people[number % 2] for number in range(figure + 1)]
    answers = [client.call("GET", PATHS[gateway], token=token) for token in turns]
    assert [answer.status_code for answer in answers] == [200] * figure + [429]
    assert {answer.headers["x-ratelimit-limit"] for answer in answers} == {str(figure)}
    left = counters.usage(gateway, "requests", tenant=TENANT, tier="enterprise")
    assert (left["figure"], left["remaining"], left["counted_as"]) == (figure, 0, f"tenant:{TENANT}")
    # Who is spelt like the tenant is not the tenant.
    named = tokens.of(gateway, fresh, tier="enterprise", sub=TENANT)
    answer = client.call("GET", PATHS[gateway], token=named)
    assert (answer.status_code, answer.headers["x-ratelimit-limit"] != str(figure)) == (200, True)


@pytest.mark.requirement("R11")
def test_the_fleet_has_a_ceiling_at_the_edge_whoever_calls(
    client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("education", fresh, sub=subject)
    left = counters.remaining("central", "fleet")
    assert counters.charge("central", left - 2, limit="fleet")
    try:
        *_, refused = passes_twice(partial(client.call, "GET", PATHS["education"], token=token))
        is_refused(refused)
        assert '"fleet";r=0;t=' in refused.headers["ratelimit"]
        others = tokens.of("sales", fresh)
        assert client.call("GET", PATHS["sales"], token=others).status_code == 429
        assert client.call("GET", "/api/platform/health").status_code == 429
        # A request that the fleet's ceiling refuses costs its caller nothing.
        assert counters.remaining("central", "subject", subject=subject, tier="business") == 4998
    finally:
        assert counters.charge("central", -(left - 2), limit="fleet")
    assert client.call("GET", PATHS["education"], token=token).status_code == 200
