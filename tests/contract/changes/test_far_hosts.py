"""Gateways whose authorization is on other hosts: no Envoy gets a policy that one of these says it does not have."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from apibank.policy_gate import PolicyGate
from apibank.web import WebListener, serve_web
from tests.contract.changes.federation import Running, running
from tests.support.container import free_ports


class Host:
    """One host's answer to whether it knows a version: `says`."""

    def __init__(self) -> None:
        self.says = 200
        self.asked: set[str] = set()
        (port,) = free_ports(1)
        self.place = f"127.0.0.1:{port}"
        application = Starlette(routes=[Route("/policies/{version}", self._answer)])
        self.listener = WebListener(application, "127.0.0.1", int(port))

    async def _answer(self, request: Request) -> PlainTextResponse:
        self.asked.add(request.path_params["version"])
        return PlainTextResponse("", self.says)


@pytest.fixture
async def hosts() -> AsyncIterator[tuple[Host, Host]]:
    pair, stop = (Host(), Host()), asyncio.Event()
    serving = asyncio.create_task(serve_web([one.listener for one in pair], stop))
    yield pair
    stop.set()
    await serving


@pytest.fixture
async def plane(folder: Path, database: str, hosts: tuple[Host, Host]) -> AsyncIterator[Running]:
    async with running(folder, database, gate=PolicyGate({"shop": [one.place for one in hosts]})) as one:
        await one.until(lambda: "shop" in one.plane.control.states and one.state["version"] is not None)
        yield one


def move(plane: Running, policy: str, path: str) -> None:
    (plane.folder / "shop.yaml").write_text(policy.replace("path: /items", f"path: {path}"), encoding="utf-8")


async def test_a_policy_that_one_host_does_not_have_waits_for_it(
    plane: Running, hosts: tuple[Host, Host], policy: str
) -> None:
    near, far = hosts
    before = plane.state["version"]
    far.says = 404
    move(plane, policy, "/things")
    await plane.until(lambda: plane.state["errors"])
    (error,) = plane.state["errors"]
    assert error["message"].startswith(f"{far.place} does not have this policy yet: ")
    assert near.place not in error["message"]
    assert plane.state["version"] == before
    far.says = 200
    await plane.until(lambda: plane.state["version"] != before)
    assert plane.state["errors"] == ()
    assert plane.state["version"] in near.asked & far.asked


async def test_a_host_that_cannot_say_holds_up_nothing(plane: Running, hosts: tuple[Host, Host], policy: str) -> None:
    before = plane.state["version"]
    hosts[1].says = 503
    move(plane, policy, "/things")
    await plane.until(lambda: plane.state["version"] != before)


@pytest.mark.parametrize("says", [404, 503])
async def test_no_canary_is_tried_that_a_host_would_refuse(
    plane: Running, hosts: tuple[Host, Host], policy: str, says: int
) -> None:
    await plane.envoy("shop-1")
    await plane.envoy("shop-2")
    hosts[1].says = says
    text = policy.replace("path: /items", "path: /things")
    wanted = {"gateways": {"shop": {"text": text}}, "canary": {"percent": 50, "soak": 0, "within": 2}}
    (rollout,) = (await plane.api.post("/v1/policies/apply", json=wanted)).json()["rollouts"]
    ended = await plane.ended(rollout["revision"])
    assert (ended["result"], hosts[1].place in ended["detail"]) == ("halted", True)
