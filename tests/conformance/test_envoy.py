"""Real Envoys with nothing but a bootstrap, driven in both dialects, aggregated and separate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.envoys import (
    Resources,
    backend,
    bootstrap,
    cluster,
    endpoints,
    envoy,
    free_port,
    get,
    listener,
    resources,
    route,
)
from xds.nodes import State
from xds.publisher import Liveness, Publisher
from xds.server import serve
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot

pytestmark = pytest.mark.e2e
AGGREGATED = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
WITHIN = 20.0


class Driven:
    """An Envoy, the control plane that drives it, and two backends that say their names."""

    def __init__(self, publisher: Publisher, port: int, backends: dict[str, int]) -> None:
        self.publisher = publisher
        self.port = port
        self.backends = backends

    def resources(self, to: str, *backends: str, **fields: Any) -> Resources:
        chosen = {name: self.backends[name] for name in backends or (to,)}
        return resources(self.port, chosen, to, **fields)

    async def publish(self, snapshot: Snapshot) -> Liveness:
        """Publish and wait until the Envoy runs it, or has refused some of it."""
        self.publisher.set_snapshot("edge", snapshot)
        return await self.publisher.wait_live("edge", snapshot.version, within=WITHIN)

    async def get(self) -> str:
        return await get(self.port)


Drive = Callable[..., Awaitable[Driven]]


@pytest.fixture
async def drive(tmp_path: Path) -> AsyncIterator[Drive]:
    tasks: list[asyncio.Task[None]] = []
    async with contextlib.AsyncExitStack() as stack:

        async def driven(*, delta: bool, aggregated: bool = True, early: bool = True) -> Driven:
            publisher = Publisher()
            server = await serve(publisher, "127.0.0.1:0", identifier="replica-1")
            stack.push_async_callback(server.stop, 0)
            backends = {name: await stack.enter_async_context(backend(name)) for name in ("x", "y")}
            one = Driven(publisher, free_port(), backends)
            source = None if aggregated else separate(delta)
            built = one.resources("x", source=source) if source else one.resources("x")
            if early:
                publisher.set_snapshot("edge", built.snapshot())
            else:
                tasks.append(asyncio.create_task(publish_once_connected(publisher, built.snapshot())))
            admin = free_port()
            config = bootstrap(server.port, admin, delta=delta, aggregated=aggregated)
            await stack.enter_async_context(envoy(config, tmp_path / "envoy", admin))
            await asyncio.gather(*tasks)
            return one

        yield driven


async def publish_once_connected(publisher: Publisher, snapshot: Snapshot) -> None:
    while not publisher.nodes.count("edge"):
        await asyncio.sleep(0.02)
    publisher.set_snapshot("edge", snapshot)


def separate(delta: bool) -> dict[str, Any]:
    """A config source for one type, as the separate streams need it."""
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    kind = ("DELTA_" if delta else "") + "GRPC"
    source = {"api_type": kind, "transport_api_version": "V3", "grpc_services": [service]}
    return {"api_config_source": source, "resource_api_version": "V3"}


@pytest.mark.requirement("U2")
@AGGREGATED
@pytest.mark.parametrize("aggregated", [True, False], ids=["ADS", "separate"])
async def test_an_envoy_gets_everything_acknowledges_it_and_serves(drive: Drive, delta: bool, aggregated: bool) -> None:
    driven = await drive(delta=delta, aggregated=aggregated)
    current = driven.publisher.snapshot("edge")
    assert current is not None
    liveness = await driven.publisher.wait_live("edge", current.version, within=WITHIN)
    assert liveness.acked == ("edge-1",)
    assert await driven.get() == "200 x"
    (status,) = driven.publisher.nodes.status("edge")
    assert (status.node.user_agent, status.live) == ("envoy", current.version)
    assert {each.type_url: each.state for each in status.types} == {
        CLUSTER: State.SYNCED,
        ENDPOINT: State.SYNCED,
        LISTENER: State.SYNCED,
        ROUTE: State.SYNCED,
    }


@AGGREGATED
async def test_o2_a_changed_cluster_is_in_use_at_once_and_not_after_envoys_fetch_timeout(
    drive: Drive, delta: bool
) -> None:
    driven = await drive(delta=delta)
    changed = Resources().add(CLUSTER, cluster("x", connect_timeout="2s"))
    changed.add(ENDPOINT, endpoints("x", driven.backends["x"]))
    changed.add(LISTENER, listener(driven.port)).add(ROUTE, route("x"))
    async with asyncio.timeout(5):
        # Envoy would wait 15 seconds for endpoints that nobody sends again.
        assert (await driven.publish(changed.snapshot())).complete
    assert await driven.get() == "200 x"


@AGGREGATED
async def test_o4_a_route_that_flips_between_backends_under_load_fails_no_request(drive: Drive, delta: bool) -> None:
    driven = await drive(delta=delta)
    assert (await driven.publish(driven.resources("x").snapshot())).complete
    answers: set[str] = set()
    done = asyncio.Event()

    async def keep_asking() -> None:
        connection = await asyncio.open_connection("127.0.0.1", driven.port)
        while not done.is_set():
            answers.add(await get(driven.port, connection))
        connection[1].close()

    asking = [asyncio.create_task(keep_asking()) for _ in range(4)]
    try:
        for flip in range(20):
            to = "yx"[flip % 2]
            assert (await driven.publish(driven.resources(to).snapshot())).complete
            assert await driven.get() == f"200 {to}"
    finally:
        done.set()
        await asyncio.gather(*asking)
    assert answers == {"200 x", "200 y"}


@AGGREGATED
async def test_a_refused_route_is_reported_with_envoys_words_and_the_place_and_the_old_one_serves_on(
    drive: Drive, delta: bool
) -> None:
    driven = await drive(delta=delta)
    assert (await driven.publish(driven.resources("x").snapshot())).complete
    bad = Resources().add(CLUSTER, cluster("y")).add(ENDPOINT, endpoints("y", driven.backends["y"]))
    bad.add(LISTENER, listener(driven.port))
    bad.add(ROUTE, route("y", safe_regex={"regex": "(unclosed"}))
    liveness = await driven.publish(bad.snapshot())
    assert not liveness.complete
    ((refused,),) = liveness.refused.values()
    assert (refused.name, refused.state) == ("r", State.REJECTED)
    assert "missing )" in refused.message
    assert str(refused.origin) == "edge.yaml:4"
    # The old route needs the old cluster, which is therefore still there.
    assert await driven.get() == "200 x"
    assert (await driven.publish(driven.resources("y").snapshot())).complete
    assert await driven.get() == "200 y"


@AGGREGATED
async def test_a_refused_listener_does_not_hold_up_a_good_one(drive: Drive, delta: bool) -> None:
    driven = await drive(delta=delta)
    assert (await driven.publish(driven.resources("x").snapshot())).complete
    bad = driven.resources("y").add(LISTENER, listener(driven.port) | {"name": "same address"})
    liveness = await driven.publish(bad.snapshot())
    (refused,) = liveness.refused["edge-1"]
    assert refused.name == "same address"
    assert "duplicate address" in refused.message
    async with asyncio.timeout(5):
        while await driven.get() != "200 y":
            await asyncio.sleep(0.02)


@AGGREGATED
async def test_a_refusal_that_repeats_the_resource_is_shown_without_it(drive: Drive, delta: bool) -> None:
    driven = await drive(delta=delta)
    assert (await driven.publish(driven.resources("x").snapshot())).complete
    bad = Resources().add(CLUSTER, cluster("x")).add(ENDPOINT, endpoints("x", driven.backends["x"]))
    without_routes = listener(driven.port)
    del without_routes["filter_chains"][0]["filters"][0]["typed_config"]["rds"]
    bad.add(LISTENER, without_routes)
    liveness = await driven.publish(bad.snapshot())
    (refused,) = liveness.refused["edge-1"]
    assert "route_specifier" in refused.message
    assert "stat_prefix" not in refused.message
    assert await driven.get() == "200 x"


@AGGREGATED
async def test_s10_an_envoy_that_comes_before_the_configuration_waits_for_it(drive: Drive, delta: bool) -> None:
    driven = await drive(delta=delta, early=False)
    assert (await driven.publish(driven.resources("y").snapshot())).complete
    assert await driven.get() == "200 y"


async def test_d4_a_secret_that_does_not_exist_yet_comes_when_it_does(drive: Drive) -> None:
    driven = await drive(delta=True)
    assert (await driven.publish(driven.resources("x").snapshot())).complete
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [
                {"name": "key", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
            ]
        },
    }
    secured = cluster("y", transport_socket={"name": "tls", "typed_config": context})
    built = driven.resources("x").add(CLUSTER, secured).add(ENDPOINT, endpoints("y", driven.backends["y"]))
    async with asyncio.timeout(10):
        # Not after the fetch timeout of 15 seconds: the Envoy is told that there is none.
        await driven.publish(built.snapshot())
    assert await driven.get() == "200 x"
    built.add(SECRET, {"name": "key", "generic_secret": {"secret": {"inline_string": "top secret"}}})
    liveness = await driven.publish(built.snapshot())
    assert "top secret" not in repr(liveness)
