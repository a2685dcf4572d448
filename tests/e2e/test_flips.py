"""Backends that change under load: no request is lost, on any gateway."""

import asyncio
import contextlib
import itertools
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.conftest import ADDRESS_RULES, INTERNAL_ADDRESS
from tests.e2e.test_agents import message
from tests.support.published import Published
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens
from tests.support.traffic import GOOD, Send, flow, getting
from waooaw_signing import sign

FLIPS = 20
GATEWAYS = ("platform", "marketing", "education", "sales", "agents")
# What counts here is whether a request is lost, so none may be refused for its number.
WIDE = """\
profile: wide
gateways:
  central:
    limits:
      subject: {tiers: {business: 1000000, internal: 1000000}}
      fleet: {requests: 1000000}
      address: {requests: 1000000}
  platform: {limits: {health: {requests: 1000000}}}
  marketing: {limits: {requests: {tiers: {business: 1000000}}}}
  education: {limits: {requests: {tiers: {business: 1000000}}}}
  sales: {limits: {requests: {tiers: {business: 1000000}}}}
  agents: {limits: {requests: {tiers: {internal: 1000000}}}}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips") / "gateways"
    shutil.copytree(ROOT / "envoy" / "gateways", folder)
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Stack]:
    """A federation whose limits are out of the way."""
    folder = tmp_path_factory.mktemp("wide")
    profiles = []
    for name, text in (("address-rules", ADDRESS_RULES), ("wide", WIDE)):
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        profiles += ["--profile", str(folder / f"{name}.yaml")]
    with running_stack(folder / "state", "--policies", str(files), "--profile", "dev", *profiles) as running:
        yield running


def upstream_of(text: str) -> str:
    """The name of a gateway's one upstream."""
    lines = text.splitlines()
    return lines[lines.index("upstreams:") + 1].strip().rstrip(":")


def turned(text: str, endpoint: str) -> str:
    """The file with another upstream in the place of its own: the old one is gone, the new one has another host."""
    name = upstream_of(text)
    head, _, rest = text.partition(f"\nupstreams:\n  {name}:\n")
    _, _, tail = rest.partition("\n\n")
    section = f'\nupstreams:\n  {name}-other:\n    endpoints: ["{endpoint}"]\n\n'
    return head + section + tail.replace(f"upstream: {name}\n", f"upstream: {name}-other\n")


def save(file: Path, text: str) -> None:
    partial = file.with_suffix(".tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


async def flipping(published: Published, file: Path, endpoint: str) -> None:
    """Twenty times another backend, each as soon as the one before is live."""
    ours = file.read_text(encoding="utf-8")
    texts = (turned(ours, endpoint), ours)
    version = (await published.gateway(file.stem))["version"]
    for number in range(FLIPS):
        save(file, texts[number % 2])
        version = await published.another_than(file.stem, version, 30)


def signing(stack: Stack) -> Send:
    """POST a signed message at the agents' door."""
    secret = (stack.state_dir / "secrets" / "agents" / "vision").read_text(encoding="utf-8").split()[0].encode()
    url = stack.ready.central.internal_https + "/api/agents/vision"

    async def send(http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        body = message("vision", id=f"m-{number}")
        headers = sign("POST", url, body, "vision", secret) | {"content-type": "application/json"}
        return await http.post(url, content=body, headers=headers)

    return send


def loads(stack: Stack) -> dict[str, tuple[Send, str]]:
    """By gateway: what is sent all the time, and from where."""
    tokens = Tokens(stack.state_dir)

    def callers(gateway: str) -> list[str]:
        numbers = itertools.count()
        return [tokens.of(gateway, lambda kind: f"{kind}-{gateway}-{next(numbers)}") for _ in range(10)]

    return {
        "platform": (getting(stack, "/api/platform/health", []), "127.0.0.1"),
        "marketing": (getting(stack, "/api/marketing/seo", callers("marketing")), "127.0.0.1"),
        "education": (getting(stack, "/api/education/math", callers("education")), "127.0.0.1"),
        "sales": (getting(stack, "/api/sales/leads", callers("sales")), "127.0.0.1"),
        "agents": (signing(stack), INTERNAL_ADDRESS),
    }


@pytest.mark.requirement("R3", "R113", "U2")
async def test_twenty_changes_of_every_gateways_backend_lose_no_request(wide: Stack, files: Path) -> None:
    published = Published(wide)
    answers: dict[str, Counter[str]] = {}
    async with contextlib.AsyncExitStack() as flows:
        await flows.enter_async_context(published.http)
        for name, (send, address) in loads(wide).items():
            answers[name] = await flows.enter_async_context(flow(wide, send, address=address))
        # Another gateway's demo service takes any path, so it can stand in for a second backend.
        spare = {name: wide.ready.upstreams["sales" if name != "sales" else "marketing"] for name in GATEWAYS}
        await asyncio.gather(
            *(flipping(published, files / f"{name}.yaml", spare[name].removeprefix("http://")) for name in GATEWAYS)
        )
    assert {name: set(counted) for name, counted in answers.items()} == {name: {GOOD} for name in GATEWAYS}, answers
    assert all(counted[GOOD] > FLIPS for counted in answers.values()), answers
