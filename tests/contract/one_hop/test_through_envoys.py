"""One hop and two through real Envoys: the same answers and counters, and one call in place of two."""

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest

from tests.contract.one_hop.envoys import ROUTES, Gate, short_folder
from tests.unit.authz.world import API_KEY, token

FORGED = {
    "x-waooaw-tier": "enterprise",
    "x-tier": "enterprise",
    "x-waooaw-tenant": "acme",
    "x-waooaw-client-address": "198.51.100.1",
    "x-forwarded-for": "198.51.100.1",
    "ratelimit": '"requests";r=99',
    "x-ratelimit-remaining": "99",
    "x-envoy-ratelimited": "false",
    "retry-after": "0",
}
WHO: Mapping[str, Mapping[str, str]] = {
    "nobody": {},
    "free": {"authorization": f"Bearer {token(tier='free')}"},
    "business": {"authorization": f"Bearer {token(sub='user_2')}"},
    "of a tenant": {"authorization": f"Bearer {token(tenant_id='acme')}"},
    "without a scope": {"authorization": f"Bearer {token(scopes=[])}"},
    "partner": {"x-api-key": API_KEY},
}
ADDRESSES = ("127.0.0.1", "127.0.0.9")


@pytest.fixture
async def gates() -> AsyncIterator[tuple[Gate, Gate]]:
    """Two hops, one hop."""
    with short_folder() as folder:
        async with AsyncExitStack() as held:
            made = Gate("ratelimit", folder), Gate("authz", folder)
            for gate in made:
                held.callback(gate.service.stop)
                await held.enter_async_context(gate.serving("native"))
                held.enter_context(gate.envoy())
            yield made


@pytest.fixture
async def clients() -> AsyncIterator[Mapping[str, httpx2.AsyncClient]]:
    async with AsyncExitStack() as held:
        yield {
            address: await held.enter_async_context(
                httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(local_address=address), timeout=10)
            )
            for address in ADDRESSES
        }


def traffic(seed: int, requests: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    paths = [route["path"] for route in ROUTES.values()]

    def one() -> dict[str, Any]:
        method = draw.choice(["GET", "GET", "GET", "POST", "PUT"])
        headers = [*WHO[draw.choice([*WHO, "free", "of a tenant"])].items()]
        headers += [(name, FORGED[name]) for name in draw.sample(sorted(FORGED), draw.randint(0, 2))]
        if draw.random() < 0.1:
            kind = draw.choice(["application/grpc", "application/grpc+proto", "application/grpc-web"])
            headers += [("content-type", kind), ("te", "trailers")]
        elif method == "POST":
            headers.append(("content-type", "application/json"))
        body = draw.choice([b'{"topic": "AI", "tone": "casual", "length": 500}', b'{"topic": 1}'])
        return {
            "path": draw.choice([*paths, "/api/marketing/content", "/elsewhere"]),
            "method": method,
            "headers": headers,
            "body": body if method == "POST" else None,
            "address": draw.choice(ADDRESSES),
            "gap": draw.choice([0, 0, 0, 1_000_000, 11_000_000]),
        }

    return [one() for _ in range(requests)]


@pytest.mark.requirement("R42", "R69", "R104")
async def test_clients_cannot_tell_one_hop_from_two(
    gates: tuple[Gate, Gate], clients: Mapping[str, httpx2.AsyncClient]
) -> None:
    two, one = gates
    statuses: Counter[int] = Counter()
    codes: Counter[str] = Counter()
    for number, drawn in enumerate(traffic(5, 220)):
        heard = []
        for gate in gates:
            gate.process.clock[0] += drawn["gap"]
            heard.append(await gate.call(clients[drawn["address"]], drawn))
        assert heard[1] == heard[0], number
        statuses[heard[0][0]] += 1
        codes[heard[0][2].get("code", "") if isinstance(heard[0][2], dict) else ""] += 1
    assert one.process.counters._counters == two.process.counters._counters
    for metric in ("apibank_ratelimit_decisions_total", "apibank_ratelimit_store_losses_total"):
        assert one.process.samples(metric) == two.process.samples(metric)
    assert one.service.hits == two.service.hits > 20
    assert {200, 401, 403, 404, 405, 429, 503} <= set(statuses)
    assert {"rate_limited", "daily_limit_reached", "service_unavailable", "maintenance"} <= set(codes)
    asked, asked_twice = one.asked(), two.asked()
    assert asked["ratelimit"] == 0 < asked_twice["ratelimit"]
    assert asked["authz"] == asked_twice["authz"]


@pytest.mark.parametrize("which", [0, 1], ids=["two hops", "one hop"])
@pytest.mark.requirement("R42")
async def test_answers_that_envoy_makes_itself_say_what_is_left_too(
    which: int, gates: tuple[Gate, Gate], clients: Mapping[str, httpx2.AsyncClient]
) -> None:
    drawn = {"path": "/api/marketing/down", "method": "GET", "headers": [*WHO["business"].items()], "body": None}
    status, headers, body = await gates[which].call(clients["127.0.0.1"], drawn)
    assert (status, body["code"]) == (503, "service_unavailable")
    assert dict(headers)["x-ratelimit-limit"] == "40"


@pytest.mark.parametrize("which", [0, 1], ids=["two hops", "one hop"])
async def test_clients_of_grpc_hear_that_something_is_used_up(
    which: int, gates: tuple[Gate, Gate], clients: Mapping[str, httpx2.AsyncClient]
) -> None:
    headers = [*WHO["of a tenant"].items(), ("content-type", "application/grpc"), ("te", "trailers")]
    drawn = {"path": "/api/marketing/down", "method": "GET", "headers": headers, "body": None}
    # Three, and the burst's three more.
    ends = [dict((await gates[which].call(clients["127.0.0.1"], drawn))[1])["grpc-status"] for _ in range(6)]
    assert ends[0] == "14"
    assert ends[-1] == "8"


@pytest.mark.parametrize("which", [0, 1], ids=["two hops", "one hop"])
async def test_clients_of_grpc_web_hear_it_as_all_others(
    which: int, gates: tuple[Gate, Gate], clients: Mapping[str, httpx2.AsyncClient]
) -> None:
    headers = [*WHO["of a tenant"].items(), ("content-type", "application/grpc-web+proto")]
    drawn = {"path": "/api/marketing/down", "method": "GET", "headers": headers, "body": None}
    ends = [await gates[which].call(clients["127.0.0.1"], drawn) for _ in range(6)]
    assert [status for status, _, _ in ends][::5] == [503, 429]
    assert "grpc-status" not in dict(ends[-1][1])
