"""Gateways whose authorization is on other hosts: no Envoy gets a policy that one of these says it does not have."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from apibank.policy_gate import PolicyGate, addresses_of
from apibank.web import WebListener, serve_web
from tests.contract.changes.federation import Running, running
from tests.support.container import free_ports


class Host:
    """One host's answer to whether it knows a version: `says`."""

    def __init__(self, address: str = "127.0.0.1", port: str | None = None) -> None:
        self.says = 200
        self.asked: set[str] = set()
        self.port = port or free_ports(1)[0]
        self.place = f"{address}:{self.port}"
        application = Starlette(routes=[Route("/policies/{version}", self._answer)])
        self.listener = WebListener(application, address, int(self.port))

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


async def test_every_host_of_a_name_is_asked_and_one_that_comes_later_too(
    folder: Path, database: str, policy: str
) -> None:
    first = Host()
    second = Host("127.0.0.2", first.port)
    known = [first.place]

    async def resolve(place: str) -> Sequence[str]:
        assert place == f"shop-services:{first.port}"
        return known

    gate = PolicyGate({"shop": [f"shop-services:{first.port}"]}, resolve)
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_web([first.listener, second.listener], stop))
    try:
        async with running(folder, database, gate=gate) as plane:
            await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"] is not None)
            before = plane.state["version"]
            assert second.asked == set()
            known.append(second.place)
            second.says = 404
            move(plane, policy, "/things")
            await plane.until(lambda: plane.state["errors"])
            assert plane.state["errors"][0]["message"].startswith(f"{second.place} does not have this policy yet: ")
            assert plane.state["version"] == before
            second.says = 200
            await plane.until(lambda: plane.state["version"] != before)
    finally:
        stop.set()
        await serving


async def test_a_name_is_looked_up_by_the_machines_resolver() -> None:
    assert await addresses_of("127.0.0.1:80") == ["127.0.0.1:80"]
    assert await addresses_of("[::1]:80") == ["[::1]:80"]
    # RFC 6761: there never is such a host.
    assert await addresses_of("nobody.invalid:80") == ()
    assert await addresses_of("localhost:80") in (["127.0.0.1:80"], ["[::1]:80"])
