"""Checks that count, in a whole federation: the day, the burst, a lost store, and a change to it under traffic."""

import asyncio
import json
import os
import shutil
import signal
import ssl
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.e2e.test_limits import within_one_day
from tests.support.client import CONTENT, Client, problem
from tests.support.published import Published, eventually
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Fresh, Tokens
from tests.support.traffic import together

__all__ = ["within_one_day"]

PATH = "/api/marketing/content"
CENTRAL = """\
profile: one-hop
description: At central, Checks count from the start.
gateways:
  central: {services: {ratelimit: {answered_by: authz}}}
"""
FORGED = {
    "x-waooaw-tier": "enterprise",
    "x-tier": "enterprise",
    "x-waooaw-tenant": "somebody-elses",
    "x-forwarded-for": "192.0.2.77",
    "ratelimit": '"day";r=99',
    "x-ratelimit-remaining": "99",
    "x-envoy-ratelimited": "false",
}
_TWO = 'ratelimit: {endpoint: "unix:/run/apibank/ratelimit.sock"}'
_ONE = 'ratelimit: {endpoint: "unix:/run/apibank/ratelimit.sock", answered_by: authz}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The gateways' files; marketing's has its Checks count."""
    folder = tmp_path_factory.mktemp("one-hop-policies") / "gateways"
    shutil.copytree(ROOT / "envoy" / "gateways", folder)
    answered_by(folder, _ONE)
    return folder


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("one-hop")
    overlay = place / "one-hop.yaml"
    overlay.write_text(CENTRAL, encoding="utf-8")
    arguments = ("--policies", str(folder), "--gateways", "central,marketing", "--profile", "dev")
    with running_stack(place / "state", *arguments, "--profile", str(overlay)) as running:
        yield running


@pytest.fixture
def client(counting: Stack) -> Iterator[Client]:
    with Client(counting.ready) as one:
        yield one


@pytest.fixture(scope="module")
def tokens(counting: Stack) -> Tokens:
    return Tokens(counting.state_dir)


def answered_by(folder: Path, way: str) -> None:
    """Save marketing's file with the one way or the other, as editors do."""
    file = folder / "marketing.yaml"
    text = file.read_text(encoding="utf-8").replace(_ONE, _TWO)
    assert _TWO in text
    partial = file.with_suffix(".tmp")
    partial.write_text(text.replace(_TWO, way), encoding="utf-8")
    partial.replace(file)


def asked(admin: str) -> dict[str, int]:
    """How often an Envoy has turned to each of its gateway's services."""
    url = f"{admin}/stats?format=json&filter=services.*upstream_rq_total"
    with urllib.request.urlopen(url, timeout=5) as answer:
        stats = json.load(answer)["stats"]
    return {one["name"].split(".")[1].removeprefix("services/"): one["value"] for one in stats}


@pytest.mark.requirement("R42", "R43", "R104")
@pytest.mark.usefixtures("within_one_day")
async def test_the_eleventh_of_a_day_is_refused_by_the_only_call_that_is_made(
    counting: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    admins = counting.ready.central.envoy_admin, counting.ready.gateways["marketing"].envoy_admin
    before = [asked(admin) for admin in admins]
    token, hits = tokens.of("marketing", fresh, tier="free"), client.hits("marketing")
    for _ in range(12):
        assert client.call("POST", PATH, token=token, json={**CONTENT, "tone": "angry"}).status_code == 400
    left = []
    for _ in range(10):
        answer = client.call("POST", PATH, token=token, json=CONTENT)
        assert answer.status_code == 200
        assert "ratelimit-policy" in answer.headers
        left.append(int(answer.headers["x-ratelimit-remaining"]))
    assert left == list(range(9, -1, -1))
    for _ in range(3):
        answer = client.call("POST", PATH, token=token, json=CONTENT, headers=FORGED)
        body = problem(answer)
        assert (answer.status_code, body["code"]) == (429, "daily_limit_reached")
        assert body["detail"] == "Daily limit reached (upgrade to Business)"
        assert body["request_id"] == answer.headers["x-request-id"]
        assert int(answer.headers["retry-after"]) > 0
        assert '"day";r=0' in answer.headers["ratelimit"]
    assert client.hits("marketing") == hits + 10
    for earlier, later in zip(before, [asked(admin) for admin in admins], strict=True):
        assert later["authz"] - earlier["authz"] == 25
        assert later["ratelimit"] == earlier["ratelimit"]
    for said in ('"reason":"daily_limit_reached"', '"cause":"limit day"', '"status":429'):
        await eventually(lambda said=said: said in counting.log("gateway-marketing"))  # type: ignore[misc]


@pytest.mark.requirement("R42", "R104")
@pytest.mark.usefixtures("within_one_day")
async def test_a_hundred_at_once_with_one_left_admit_one(
    counting: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    assert {client.call("GET", PATH, token=token).status_code for _ in range(9)} == {200}
    assert await together(counting, PATH, token, 100) == {200: 1, 429: 99}


@pytest.mark.usefixtures("within_one_day")
async def test_while_the_store_stands_still_nobody_passes_uncounted_and_then_the_counters_are_as_they_were(
    counting: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    assert {client.call("GET", PATH, token=token).status_code for _ in range(4)} == {200}
    store = counting.ready.pids["valkey"]
    os.kill(store, signal.SIGSTOP)
    try:
        refused = [client.call("GET", PATH, token=token) for _ in range(3)]
    finally:
        os.kill(store, signal.SIGCONT)
    assert {(one.status_code, problem(one)["code"]) for one in refused} == {(503, "limits_unavailable")}
    statuses: list[int] = []
    deadline = datetime.now(UTC) + timedelta(seconds=15)
    while 429 not in statuses and datetime.now(UTC) < deadline:
        statuses.append(client.call("GET", PATH, token=token).status_code)
        await asyncio.sleep(0.05)
    # Of what was lost at central nothing was charged at marketing.
    assert statuses.count(200) == 6


@pytest.mark.requirement("R42")
@pytest.mark.usefixtures("within_one_day")
async def test_a_change_under_traffic_counts_every_request_once(
    counting: Stack, folder: Path, tokens: Tokens, fresh: Fresh
) -> None:
    callers = [tokens.of("marketing", fresh, tier="free") for _ in range(24)]
    answers: dict[str, list[int]] = {caller: [] for caller in callers}
    context = ssl.create_default_context(cafile=counting.ca_file)
    published = Published(counting)
    changed: list[int] = []
    async with httpx2.AsyncClient(verify=context, timeout=10) as http:

        async def ask() -> None:
            # Ten a caller are admitted, whichever way each of them went; the twelfth and the last are too many.
            for _ in range(13):
                for caller in callers:
                    headers = {"authorization": f"Bearer {caller}"}
                    answer = await http.get(counting.ready.central.https + PATH, headers=headers)
                    answers[caller].append(answer.status_code)
                    await asyncio.sleep(0.01)

        async def change() -> None:
            for way in (_TWO, _ONE, _TWO, _ONE):
                version = (await published.gateway("marketing"))["version"]
                answered_by(folder, way)
                await published.another_than("marketing", version)
                changed.append(sum(map(len, answers.values())))
                await asyncio.sleep(0.3)

        before = asked(counting.ready.gateways["marketing"].envoy_admin)
        await asyncio.gather(ask(), change())
        after = asked(counting.ready.gateways["marketing"].envoy_admin)
    await published.http.aclose()
    assert [statuses.count(200) for statuses in answers.values()] == [10] * len(callers)
    assert {status for statuses in answers.values() for status in statuses} == {200, 429}
    # Some went the one way and some the other, and the changes came while they were on it.
    assert 0 < after["ratelimit"] - before["ratelimit"] < 24 * 13
    assert len([moment for moment in changed if 0 < moment < 24 * 13]) >= 2
