"""One hop is two: whatever is drawn, the same answers, the same counters and the same figures, with half the calls."""

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from authz.request import Request
from policy.model import Gateway
from ratelimit.store import Loss
from tests.property.one_hop.hops import Answer, Process
from tests.unit.authz.world import ADMIN_ISSUER, API_KEY, CONTENT, NOW, policy, request, rsa_key, signed, token

SECOND = 1_000_000
# Eight in the morning in Greenwich: half a minute before midnight at Los Angeles.
START = (int(NOW) - 30) * SECOND
FORGED = {
    "x-waooaw-tier": "enterprise",
    "x-tier": "enterprise",
    "x-waooaw-tenant": "acme",
    "ratelimit": '"requests";r=99',
    "x-ratelimit-remaining": "99",
    "x-envoy-ratelimited": "false",
    "x-forwarded-for": "198.51.100.1",
}
LIMITS: dict[str, Any] = {
    "requests": {
        "unit": "minute",
        "tiers": {"free": 30, "business": 12, "enterprise": "business", "internal": 60},
        "tenants": {"acme": 18},
        "burst": {"rate": 2, "seconds": 10},
    },
    "day": {
        "unit": "day",
        "tiers": {"free": 3, "business": "unlimited", "enterprise": "unlimited", "internal": "unlimited"},
        "time_zone": "America/Los_Angeles",
        "code": "daily_limit_reached",
        "refusal": 'Daily limit "reached" – upgrade',
    },
    "addresses": {"per": "address", "requests": 3, "unit": "minute", "on_store_failure": "open"},
    "everybody": {"per": "gateway", "requests": 25, "unit": "minute", "algorithm": "sliding_window"},
    "watched": {"requests": 2, "unit": "minute", "shadow": True, "on_store_failure": "open"},
    "few": {"tiers": {"free": 2}, "unit": "hour"},
}
ROUTES: dict[str, Any] = {
    "content": {"path": "/api/marketing/content", "body": {"POST": "content"}},
    "plain": {"path": "/api/marketing/plain", "limits": ["watched", "addresses"]},
    "docs": {"path": "/api/marketing/docs", "access": "public", "limits": ["addresses"]},
    "open": {"path": "/api/marketing/open", "access": "public"},
    "nothing": {"path": "/api/marketing/nothing", "limits": []},
    "few": {"path": "/api/marketing/few", "limits": ["few"]},
    "off": {"path": "/api/marketing/off", "mode": "off"},
    "shadow": {"path": "/api/marketing/shadow", "mode": "shadow", "limits": ["requests", "everybody"]},
    "optional": {"path": "/api/marketing/optional", "mode": "optional", "limits": ["requests", "addresses"]},
    "admin": {
        "path": "/api/marketing/admin",
        "callers": {"tokens": {"admin": ["admin"]}, "refusal": "Admins"},
        "tiers": ["internal"],
    },
    "agents": {
        "path": "/api/marketing/agents",
        "callers": {"agents": True, "refusal": "Agents"},
        "tiers": ["internal"],
    },
}


def gateway(answered_by: str, headers: str = "always", **figures: int) -> Gateway:
    limits: dict[str, Any] = {**LIMITS, "addresses": {**LIMITS["addresses"], **figures}}
    return policy(
        tiers=["free", "business", "enterprise", "internal"],
        limits=limits,
        services={
            "authz": {"endpoint": "unix:/a", "failed_credentials": {"per_minute": 5}},
            "ratelimit": {"endpoint": "unix:/b", "headers": headers, "answered_by": answered_by},
        },
        defaults={
            "methods": {"GET": "read", "POST": "write"},
            "scopes": "marketing",
            "limits": ["requests", "day", "everybody"],
        },
        routes={name: {"upstream": "service", **route} for name, route in ROUTES.items()},
    )


TOKENS: dict[str, str | None] = {
    "nobody": None,
    "free": token(tier="free"),
    "another": token(tier="free", sub="user_2"),
    "business": token(),
    "of a tenant": token(tenant_id="acme"),
    "of another tenant": token(tenant_id="other", tier="enterprise"),
    "without a scope": token(scopes=[]),
    "of no tier that we know": token(tier="golden"),
    "forged": token(rsa_key("another")),
    "admin": token(rsa_key("admin"), iss=ADMIN_ISSUER, role="admin", tier="internal", scopes=["marketing:*"]),
}
ASKED = st.fixed_dictionaries(
    {
        "route": st.sampled_from(sorted(ROUTES)),
        "who": st.sampled_from([*TOKENS, "partner", "agent"]),
        "method": st.sampled_from(["GET", "GET", "GET", "POST", "DELETE"]),
        "address": st.sampled_from(["192.0.2.7", "192.0.2.8", "2001:db8::1"]),
        "forged": st.lists(st.sampled_from(sorted(FORGED)), max_size=3, unique=True),
        "body": st.sampled_from([None, CONTENT, {"topic": 1}]),
        "version": st.sampled_from([0, 0, 1]),
    }
)
BATCH = st.fixed_dictionaries(
    {
        "asked": st.lists(ASKED, min_size=1, max_size=8),
        "gap": st.sampled_from([0, 0, 1, 250_000, SECOND, 7 * SECOND, 20 * SECOND]),
        "lost": st.sampled_from([None, None, None, None, Loss.TIMEOUT]),
    }
)


def request_of(drawn: Mapping[str, Any], version: str, number: int, now: int) -> Request:
    route, who = drawn["route"], drawn["who"]
    headers = {name: FORGED[name] for name in drawn["forged"]} | {"x-request-id": f"r-{number}"}
    if who == "agent":
        path = f"/api/marketing/{route}"
        made = signed(
            "GET",
            path,
            nonce=f"n-{number:016}",
            created=now // SECOND,
            headers={**headers, "x-waooaw-client-address": drawn["address"]},
        )
        return replace(made, gateway="marketing", policy=version, route=route)
    key = API_KEY if who == "partner" else None
    body = drawn["body"] if drawn["method"] == "POST" else None
    made = request(
        route, None, drawn["method"], headers, token=TOKENS.get(who), key=key, json_body=body, address=drawn["address"]
    )
    return replace(made, policy=version)


def comparable(answer: Answer) -> Answer:
    # What the log is told of the caller; whether it was let pass it hears of the one who decided last.
    metadata = {name: value for name, value in answer.metadata.items() if name not in {"outcome", "reason"}}
    return answer._replace(metadata=metadata)


async def run(batches: list[dict[str, Any]], headers: str, distant: bool, *ways: str) -> tuple[list[Answer], Process]:
    """What is answered by a process that knows two versions of a policy, each answered by who stands in `ways`.

    The second is what some Envoys run already, with another figure; the first is still known.
    """
    clock = [START]
    process = Process(clock, distant)
    versions = [gateway(ways[0], headers), gateway(ways[1], headers, requests=5)]
    for each in versions:
        process.put(each)
    answers: list[Answer] = []
    for batch in batches:
        clock[0] += batch["gap"]
        process.store.lost = batch["lost"] if distant else None
        asked = []
        for number, drawn in enumerate(batch["asked"], len(answers)):
            asked.append(request_of(drawn, versions[drawn["version"]].version, number, clock[0]))
        answers += [comparable(one) for one in await process.answer(*asked)]
    return answers, process


# Every shrunk example would be run twice over; what is found is small enough.
@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.lists(BATCH, min_size=1, max_size=12), st.sampled_from(["always", "refusal"]), st.booleans())
def test_one_hop_answers_and_counts_as_two_do(batches: list[dict[str, Any]], headers: str, distant: bool) -> None:
    compare(batches, headers, distant)


@pytest.mark.parametrize("distant", [False, True], ids=["counters at hand", "counters to wait for"])
@pytest.mark.parametrize("seed", range(3))
def test_one_hop_answers_and_counts_as_two_do_in_a_long_run(seed: int, distant: bool) -> None:
    headers = ("always", "refusal")[seed % 2]
    answers = compare(traffic(random.Random(seed), 60), headers, distant)
    codes = Counter(answer.problem.get("code", "") for answer in answers)
    assert {"", "rate_limited", "daily_limit_reached", "token_missing", "insufficient_scope"} <= set(codes)
    assert distant == ("limits_unavailable" in codes)
    assert (sum(bool(answer.headers) for answer in answers if answer.status == 200) > 20) == (headers == "always")


def traffic(draw: random.Random, batches: int) -> list[dict[str, Any]]:
    """The same for the same seed. Few callers, of whom some ask often: their limits are reached."""
    often = ["free", "free", "of a tenant", "partner", "agent", "business"]

    def one() -> dict[str, Any]:
        return {
            "route": draw.choice(sorted(ROUTES)),
            "who": draw.choice([*TOKENS, *often]),
            "method": draw.choice(["GET", "GET", "GET", "POST", "DELETE"]),
            "address": draw.choice(["192.0.2.7", "192.0.2.8", "2001:db8::1"]),
            "forged": draw.sample(sorted(FORGED), draw.randint(0, 3)),
            "body": draw.choice([None, CONTENT, {"topic": 1}]),
            "version": draw.choice([0, 0, 1]),
        }

    return [
        {
            "asked": [one() for _ in range(draw.randint(1, 12))],
            "gap": draw.choice([0, 1, 250_000, SECOND, 3 * SECOND]),
            "lost": draw.choice([None] * 9 + [Loss.TIMEOUT]),
        }
        for _ in range(batches)
    ]


def compare(batches: list[dict[str, Any]], headers: str, distant: bool) -> list[Answer]:
    """Holds one hop against two, and gives its answers."""
    by_two, two = asyncio.run(run(batches, headers, distant, "ratelimit", "ratelimit"))
    by_one, one = asyncio.run(run(batches, headers, distant, "authz", "authz"))
    alike(by_one, one, by_two, two)
    assert one.calls == len(by_one) <= two.calls
    told = {event.request_id: event.status for event in one.witness.events}
    assert told == {f"r-{number}": answer.status for number, answer in enumerate(by_one)}
    return by_one


def alike(answers: list[Answer], process: Process, others: list[Answer], other: Process) -> None:
    for number, (one, two) in enumerate(zip(answers, others, strict=True)):
        assert one == two, number
    assert process.counters._counters == other.counters._counters
    for metric in ("apibank_ratelimit_decisions_total", "apibank_ratelimit_store_losses_total"):
        assert process.samples(metric) == other.samples(metric)


@pytest.mark.parametrize("ways", [("ratelimit", "authz"), ("authz", "ratelimit")], ids=["to one hop", "back to two"])
@pytest.mark.parametrize("distant", [False, True], ids=["counters at hand", "counters to wait for"])
def test_while_a_change_is_on_its_way_no_request_is_counted_twice_or_not_at_all(
    ways: tuple[str, str], distant: bool
) -> None:
    batches = traffic(random.Random(7), 60)
    # Of several at one moment, those that a Check counts would come first.
    batches = [{**batch, "asked": batch["asked"][:1]} for batch in batches for _ in range(4)]
    by_two, two = asyncio.run(run(batches, "always", distant, "ratelimit", "ratelimit"))
    changing, process = asyncio.run(run(batches, "always", distant, *ways))
    alike(changing, process, by_two, two)
    assert len(changing) < process.calls < two.calls
