"""Limits through real Envoys and a real Valkey: the burst, the day, who shares a counter, and what a refusal costs."""

import asyncio
import ssl
import time
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from tests.support.client import CONTENT, Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"


@pytest.fixture
def within_one_day() -> None:
    """Wait out the last minute of a UTC day, so that no test counts over midnight."""
    now = datetime.now(UTC)
    left = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC) - now
    if left < timedelta(minutes=1):
        time.sleep(left.total_seconds() + 1)


@pytest.mark.requirement("R42", "R43", "R104")
@pytest.mark.usefixtures("within_one_day")
def test_the_eleventh_free_request_of_a_day_is_refused_and_costs_nothing(
    client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    before = client.hits("marketing")
    for number in range(10):
        assert client.call("POST", PATH, token=token, json=CONTENT).status_code == 200, number
    for _ in range(3):
        answer = client.call("POST", PATH, token=token, json=CONTENT)
        body = problem(answer)
        assert (answer.status_code, body["detail"]) == (429, "Daily limit reached (upgrade to Business)")
        assert body["request_id"] == answer.headers["x-request-id"]
        assert int(answer.headers["retry-after"]) > 0
    assert client.hits("marketing") == before + 10


@pytest.mark.requirement("R43")
@pytest.mark.usefixtures("within_one_day")
def test_the_business_tier_has_no_day(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh)
    assert {client.call("GET", PATH, token=token).status_code for _ in range(15)} == {200}


@pytest.mark.requirement("R42")
@pytest.mark.usefixtures("within_one_day")
def test_requests_that_were_refused_before_do_not_spend_the_day(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    for _ in range(12):
        assert client.call("POST", PATH, token=token, json={**CONTENT, "tone": "angry"}).status_code == 400
    assert client.call("POST", PATH, token=token, json=CONTENT).status_code == 200


@pytest.mark.requirement("R42", "R67")
@pytest.mark.usefixtures("within_one_day")
def test_people_of_one_tenant_share_its_day(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    tenant = fresh("tenant")
    one, two = (tokens.of("marketing", fresh, tier="free", tenant_id=tenant) for _ in range(2))
    statuses = [client.call("GET", PATH, token=token).status_code for token in (one, two) * 6]
    assert statuses == [200] * 10 + [429] * 2


async def _blast(stack: Stack, requests: list[tuple[str, str]]) -> list[httpx2.Response]:
    """Send requests (path, token) together, in as few milliseconds as it takes."""
    context = ssl.create_default_context(cafile=stack.ca_file)
    limits = httpx2.Limits(max_connections=16)
    async with httpx2.AsyncClient(verify=context, limits=limits, timeout=20) as http:

        async def one(path: str, token: str) -> httpx2.Response:
            return await http.get(stack.ready.central.https + path, headers={"authorization": f"Bearer {token}"})

        return list(await asyncio.gather(*(one(path, token) for path, token in requests)))


@pytest.mark.requirement("R3", "R54", "R69", "R71", "R76", "R104")
async def test_a_blast_of_the_free_tier_of_sales_is_cut_at_its_burst(
    stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    # 50 a minute, burst 2x for 10 s: 1 + floor(50/6) = 9 at once, and one more each 1.2 s that the blast takes.
    token = tokens.of("sales", fresh, tier="free")
    started = time.monotonic()
    answers = await _blast(stack, [("/api/sales/leads", token)] * 40)
    took = time.monotonic() - started
    admitted = sum(answer.status_code == 200 for answer in answers)
    refused = [answer for answer in answers if answer.status_code == 429]
    assert admitted + len(refused) == 40
    assert 9 <= admitted <= 9 + took / 1.2 + 1
    for answer in refused:
        assert problem(answer)["code"] == "rate_limited"
        assert 1 <= int(answer.headers["retry-after"]) <= 2


@pytest.mark.requirement("R69", "R71")
async def test_a_caller_that_waits_as_told_is_admitted(stack: Stack, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("sales", fresh, tier="free")
    refused = [a for a in await _blast(stack, [("/api/sales/leads", token)] * 20) if a.status_code == 429]
    await asyncio.sleep(int(refused[-1].headers["retry-after"]))
    (answer,) = await _blast(stack, [("/api/sales/leads", token)])
    assert answer.status_code == 200


@pytest.mark.requirement("R1", "R4", "R23")
async def test_two_gateways_count_apart(stack: Stack, tokens: Tokens, fresh: Fresh) -> None:
    subject = fresh("user")
    sales = tokens.customer(sub=subject, role="company", tier="free", scopes=["sales:*"])
    education = tokens.customer(sub=subject, role="student", tier="free", scopes=["education:*"])
    answers = await _blast(stack, [("/api/sales/leads", sales)] * 20)
    assert 429 in {answer.status_code for answer in answers}
    (answer,) = await _blast(stack, [("/api/education/math", education)])
    assert answer.status_code == 200


@pytest.mark.requirement("R104")
async def test_two_callers_count_apart(stack: Stack, tokens: Tokens, fresh: Fresh) -> None:
    one, two = (tokens.of("sales", fresh, tier="free") for _ in range(2))
    answers = await _blast(stack, [("/api/sales/leads", one)] * 20)
    assert 429 in {answer.status_code for answer in answers}
    (answer,) = await _blast(stack, [("/api/sales/leads", two)])
    assert answer.status_code == 200


@pytest.mark.requirement("R34")
def test_administration_has_a_limit_of_its_own_inside_the_platform_s(
    internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    # 50 a minute for /admin: 9 at once; 100 a minute for everything: 17 at once.
    token = tokens.admin(fresh)
    statuses = [internal.call("GET", "/api/platform/admin/logs", token=token).status_code for _ in range(14)]
    assert statuses[:9] == [200] * 9
    assert 429 in statuses
    assert internal.call("GET", "/api/platform/metrics", token=token).status_code == 200


@pytest.mark.requirement("R29", "R34")
def test_public_health_is_limited_by_address(outside: Client) -> None:
    claimed = ("x-forwarded-for", "x-real-ip", "x-waooaw-client-address", "x-envoy-external-address", "forwarded")
    # Nobody has another address for saying so.
    spoofed = [{claimed[number % 5]: f"192.0.2.{number}"} for number in range(40)]
    statuses = {outside.call("GET", "/api/platform/health", headers=headers).status_code for headers in spoofed}
    assert statuses == {200, 429}


def test_answers_say_what_is_left(client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    first, second = (client.call("GET", PATH, token=token) for _ in range(2))
    for answer in (first, second):
        assert answer.headers["ratelimit"]
        assert answer.headers["ratelimit-policy"]
        assert "," not in answer.headers["x-ratelimit-remaining"], "one tier speaks, not both"
    assert int(second.headers["x-ratelimit-remaining"]) == int(first.headers["x-ratelimit-remaining"]) - 1
