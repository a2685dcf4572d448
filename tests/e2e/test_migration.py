"""From one application without a gateway to the federation, step by step and back, while requests come (R108-R113)."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.client import CONTENT, LEAD, Client, problem
from tests.support.old_app import OLD, ORIGIN, old_app
from tests.support.published import Published
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Fresh, Tokens
from tests.support.traffic import flow

PROFILES = ROOT / "envoy" / "profiles"
CATCH_ALL, PLATFORM, MARKETING = "migration-catch-all", "migration-platform", "migration-marketing"
EDUCATION, SALES, SHADOW, OPTIONAL = "migration-education", "migration-sales", "migration", "migration-optional"
NOTHING = "profile: nothing\ndescription: Everything is enforced.\ngateways: {}\n"
HERE = """\
profile: here
description: Where the old application is.
gateways:
  central: {{upstreams: {{legacy-backend: {{endpoints: ["127.0.0.1:{port}"]}}}}}}
"""
# What clients of the old application send, as they may: with no token, another's, one that is none.
SENT: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("GET", "/health", {}),
    ("GET", "/stream", {}),
    ("GET", "/cookie", {"headers": {"cookie": "session=mine"}}),
    ("GET", "/moved", {}),
    ("GET", "/broken", {}),
    ("GET", "/unheard/of?a=1&b=%2F&c=caf%C3%A9&a=2", {}),
    ("GET", "/with%20space/caf%C3%A9", {"headers": {"authorization": "Basic b2xkOm9sZA=="}}),
    ("POST", "/api/marketing/content", {"json": {"anything": [1, {"deep": None}]}}),
    ("POST", "/api/sales/leads", {"json": {}, "headers": {"authorization": "Bearer not-a-token"}}),
    ("PUT", "/things/7", {"content": b"\x00\xff" * 10, "headers": {"content-type": "application/octet-stream"}}),
    ("PATCH", "/things/7", {"json": {"a": 1}}),
    ("DELETE", "/things/7", {}),
    ("HEAD", "/things/7", {}),
    ("POST", "/upload", {"content": b"x" * 3_000_000, "headers": {"content-type": "text/plain"}}),
    ("OPTIONS", "/things", {"headers": {"origin": ORIGIN, "access-control-request-method": "PUT"}}),
    ("OPTIONS", "/things", {"headers": {"origin": "https://a.example", "access-control-request-method": "PUT"}}),
    ("GET", "/things", {"headers": {"origin": ORIGIN}}),
)
# Of an answer, these are the application's own, and the same through a gateway.
OWN = ("content-type", "location", "set-cookie", "x-old", "access-control-allow-origin", "access-control-allow-methods",
       "access-control-allow-credentials", "vary")  # fmt: skip


class Moving:
    """A federation whose step is a file, and the application behind it."""

    def __init__(self, stack: Stack, step: Path, port: int) -> None:
        self.stack, self.step, self.port = stack, step, port
        self.tokens = Tokens(stack.state_dir)

    async def go_to(self, profile: str) -> None:
        """Another step, live on every Envoy."""
        published = Published(self.stack)
        before = {name: (await published.gateway(name))["version"] for name in ("central", "marketing", "sales")}
        text = NOTHING if profile == "nothing" else (PROFILES / f"{profile}.yaml").read_text(encoding="utf-8")
        partial = self.step.with_suffix(".tmp")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.step)
        await published.another_than("central", before["central"], 30)
        for name in ("marketing", "education", "sales"):
            async with asyncio.timeout(30):
                while (one := await published.gateway(name))["live"] < one["envoys"]:
                    await asyncio.sleep(0.05)

    def same_as_before(self, client: Client) -> list[str]:
        """The paths of what the application does not answer through the gateway as it does alone."""
        changed = []
        with httpx2.Client(base_url=f"http://127.0.0.1:{self.port}") as alone:
            for method, path, options in SENT:
                direct = alone.request(method, path, **options)
                through = client.call(method, path, **options)
                pairs = {name: (direct.headers.get_list(name), through.headers.get_list(name)) for name in OWN}
                changed += [f"{method} {path}: {name}: {one}" for name, one in pairs.items() if one[0] != one[1]]
                if (direct.status_code, direct.content) != (through.status_code, through.content):
                    changed.append(f"{method} {path}: {through.status_code} {through.text[:200]}")
        return changed


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moving]:
    folder = tmp_path_factory.mktemp("migration")
    step, here = folder / "step.yaml", folder / "here.yaml"
    shutil.copy(PROFILES / f"{CATCH_ALL}.yaml", step)
    with old_app() as port:
        here.write_text(HERE.format(port=port), encoding="utf-8")
        profiles = ("--profile", "dev", "--profile", str(step), "--profile", str(here))
        with running_stack(folder / "state", *profiles) as stack:
            yield Moving(stack, step, port)


@pytest.fixture
def client(moving: Moving) -> Iterator[Client]:
    with Client(moving.stack.ready) as one:
        yield one


def shadowed(stack: Stack) -> int:
    """How many requests central would have refused, by its metrics."""
    text = httpx2.get(stack.ready.central.metrics).text
    lines = [line for line in text.splitlines() if line.startswith("apibank_authz_shadow_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in lines)


@contextlib.asynccontextmanager
async def traffic(moving: Moving, fresh: Fresh, path: str, body: object, role: str) -> AsyncIterator[list[str]]:
    """Requests of one customer to a domain, and of nobody to the old application; what was not good."""
    token = moving.tokens.customer(sub=fresh("user"), role=role, tier="business", scopes=["marketing:*", "sales:*"])
    headers = {"authorization": f"Bearer {token}"}
    failed: list[str] = []

    async def send(http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        base = moving.stack.ready.central.https
        if number % 2:
            answer = await http.get(base + "/health")
        else:
            answer = await http.post(base + path, json=body, headers=headers)
        if answer.status_code >= 300:
            failed.append(f"{number}: {answer.status_code} {answer.text}")
        return answer

    async with flow(moving.stack, send) as answers:
        yield failed
        failed += [words for words in answers if words.endswith("')") and "Error" in words]


@pytest.mark.requirement("R108", "R109")
def test_in_front_of_the_application_the_gateway_changes_none_of_its_answers(moving: Moving, client: Client) -> None:
    before = shadowed(moving.stack)
    assert "\n".join(moving.same_as_before(client)) == ""
    # Whoever would be refused is counted.
    assert shadowed(moving.stack) >= before + len(SENT) - 3
    # But for paths that two programs may read as two: the guide says how they are found before.
    assert client.call("GET", "/a//b").json()["path"] == "/a/b"
    for path, code in (("/a;v=1", "path_invalid"), ("/a%2Fb", "bad_request")):
        assert problem(client.call("GET", path))["code"] == code
    told = client.call("GET", "/anything", headers={"authorization": "Basic b2xkOm9sZA=="}).json()
    assert (told["served_by"], told["authorization"]) == (OLD, "Basic b2xkOm9sZA==")


@pytest.mark.requirement("R110", "R113")
async def test_the_platform_comes_for_administrators_and_touches_nothing_else(
    moving: Moving, client: Client, fresh: Fresh
) -> None:
    assert client.call("GET", "/api/platform/health").json()["served_by"] == OLD
    async with traffic(moving, fresh, "/api/marketing/content", CONTENT, "customer") as failed:
        await moving.go_to(PLATFORM)
        assert problem(client.call("GET", "/api/platform/metrics"))["code"] == "token_missing"
        customer = moving.tokens.customer(sub=fresh("user"), role="customer", tier="free", scopes=[])
        assert client.call("GET", "/api/platform/metrics", token=customer).status_code == 403
        health = client.call("GET", "/api/platform/health")
        assert "served_by" not in health.json()
        assert await asyncio.to_thread(moving.same_as_before, client) == []
        # And back.
        await moving.go_to(CATCH_ALL)
        assert client.call("GET", "/api/platform/metrics").json()["served_by"] == OLD
        await moving.go_to(PLATFORM)
    assert failed == []


@pytest.mark.requirement("R111", "R113")
async def test_the_domains_come_one_by_one_and_no_request_is_lost(moving: Moving, client: Client, fresh: Fresh) -> None:
    await moving.go_to(CATCH_ALL)
    await moving.go_to(PLATFORM)
    good = moving.tokens.of("marketing", fresh)
    async with traffic(moving, fresh, "/api/marketing/content", CONTENT, "customer") as failed:
        assert client.call("POST", "/api/marketing/content", json=CONTENT).json()["served_by"] == OLD
        await moving.go_to(MARKETING)
        served = client.call("POST", "/api/marketing/content", token=good, json=CONTENT)
        assert served.status_code == 200
        assert "served_by" not in served.json()
        # Nobody is refused yet, whatever they show; the other domains are where they were.
        for options in ({}, {"token": "not-a-token"}):
            assert client.call("POST", "/api/marketing/content", json=CONTENT, **options).status_code == 200
        assert client.call("POST", "/api/sales/leads", json=LEAD).json()["served_by"] == OLD
        assert client.call("GET", "/api/education/math").json()["served_by"] == OLD
        await moving.go_to(EDUCATION)
        assert problem(client.call("GET", "/api/education/math"))["code"] == "token_missing"
        assert client.call("POST", "/api/sales/leads", json=LEAD).json()["served_by"] == OLD
        await moving.go_to(SALES)
        assert "served_by" not in client.call("POST", "/api/sales/leads", json=LEAD).json()
        assert client.call("GET", "/health").json() == {"status": "healthy"}
        await moving.go_to(EDUCATION)
        assert client.call("POST", "/api/sales/leads", json=LEAD).json()["served_by"] == OLD
        await moving.go_to(SALES)
    assert failed == []


@pytest.mark.requirement("R111", "R113")
async def test_at_the_end_everything_is_denied_that_no_policy_admits(
    moving: Moving, client: Client, fresh: Fresh
) -> None:
    await moving.go_to(EDUCATION)
    await moving.go_to(SALES)
    await moving.go_to(SHADOW)
    assert problem(client.call("GET", "/health"))["code"] == "not_found"
    assert client.call("POST", "/api/marketing/content", json=CONTENT).status_code == 200
    await moving.go_to(OPTIONAL)
    assert client.call("POST", "/api/marketing/content", json=CONTENT).status_code == 200
    refused = client.call("POST", "/api/marketing/content", json=CONTENT, token="not-a-token")
    assert problem(refused)["code"] == "token_invalid"
    good = moving.tokens.of("marketing", fresh)
    await moving.go_to("nothing")
    for path in ("/api/marketing/content", "/api/sales/leads", "/api/education/math", "/api/platform/metrics"):
        assert problem(client.call("POST", path, json={}))["code"] == "token_missing"
    assert client.call("POST", "/api/marketing/content", json=CONTENT, token=good).status_code == 200
    for path in ("/", "/health", "/api", "/api/agents", "/unheard/of"):
        assert client.call("GET", path).status_code == 404
