"""What a real Envoy makes of times to live and of collections: it keeps and loses what the control plane means."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.envoys import (
    Resources,
    address,
    backend,
    bootstrap,
    cluster,
    envoy,
    free_port,
    get,
    listener,
    route,
)
from tests.conformance.envoys import resources as routed
from tests.conformance.test_types_envoy import Running, source
from xds.compiler.plain import plain_resource
from xds.protocol.messages import WRAPPED_RESOURCES
from xds.publisher import Publisher
from xds.server import RunningServer, serve
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, LOCALITY_ENDPOINT, ROUTE, RUNTIME, Resource, Snapshot

pytestmark = pytest.mark.e2e
WITHIN = 10.0
TTL = 1.0
KEY = "apibank.test"
COLLECTION = "xdstp://authority/envoy.config.endpoint.v3.LbEndpoint/one/*"


@contextlib.asynccontextmanager
async def running(
    folder: Path, variant: str, snapshot: Snapshot, **extra: Any
) -> AsyncIterator[tuple[Running, RunningServer]]:
    """An Envoy that runs the snapshot and knows times to live also in state of the world; and its control plane."""
    publisher = Publisher()
    server = await serve(publisher, "127.0.0.1:0", identifier="replica-1")
    admin = free_port()
    config = json.loads(bootstrap(server.port, admin, delta=variant.startswith("delta"))) | extra
    config["node"]["client_features"] = [WRAPPED_RESOURCES]
    publisher.set_snapshot("edge", snapshot)
    try:
        async with envoy(json.dumps(config), folder / "envoy", admin) as shown:
            started = Running(publisher, shown)
            await started.runs(snapshot)
            yield started, server
    finally:
        await server.stop(0)


async def layer(running: Running) -> Mapping[str, Any]:
    """The keys that are set."""
    return dict((await running.admin("/runtime"))["entries"])


@pytest.mark.parametrize("variant", ["sotw, ADS", "delta, ADS"])
async def test_w20_d20_what_is_renewed_lasts_and_runs_out_when_nobody_renews_it(tmp_path: Path, variant: str) -> None:
    async with backend("x") as x:
        port = free_port()
        written = routed(port, {"x": x}, "x").add(RUNTIME, {"name": "live", "layer": {KEY: 1}}).snapshot()
        # A complete set along with it: in state of the world a heartbeat without bodies would delete these.
        lasting = Snapshot.of(
            (kind, Resource.of(each.name, each.body, needs=each.needs, ttl=TTL if kind in (RUNTIME, CLUSTER) else None))
            for kind, each in written
        )
        layers = [{"name": "live", "rtds_layer": {"name": "live", "rtds_config": source(variant)}}]
        async with running(tmp_path, variant, lasting, layered_runtime={"layers": layers}) as (proxy, server):
            await asyncio.sleep(1.7 * TTL)
            assert KEY in await layer(proxy)
            assert await get(port) == "200 x"
            await server.stop(0)
            async with asyncio.timeout(WITHIN):
                while KEY in await layer(proxy):
                    await asyncio.sleep(0.05)


def locality(**members: int) -> Snapshot:
    """A cluster whose endpoints are the members of a collection: name and port."""
    ads = {"ads": {}, "resource_api_version": "V3"}
    place = {
        "locality": {"region": "r"},
        "load_balancing_weight": 1,
        "leds_cluster_locality_config": {"leds_config": ads, "leds_collection_name": COLLECTION},
    }
    written = [
        {"@type": CLUSTER, **cluster("one")},
        {"@type": ENDPOINT, "cluster_name": "one", "endpoints": [place]},
    ]
    for name, port in members.items():
        inner = {"@type": LOCALITY_ENDPOINT, "endpoint": {"address": address(port)}}
        wrapper = "type.googleapis.com/envoy.service.discovery.v3.Resource"
        written.append({"@type": wrapper, "name": COLLECTION.replace("*", name), "resource": inner})
    return Snapshot.of(plain_resource(each) for each in written)


async def test_leds_d22_a_collection_is_where_an_envoy_sends_requests_and_its_members_come_and_go(
    tmp_path: Path,
) -> None:
    port = free_port()
    front = Resources().add(LISTENER, listener(port)).add(ROUTE, route("one"))
    async with backend("a") as a, backend("b") as b:
        first = Snapshot.of([*locality(a=a), *front.snapshot()])
        async with running(tmp_path, "delta, ADS", first) as (proxy, _):
            assert await get(port) == "200 a"
            for members in ({"b": b}, {"a": a}):
                await proxy.runs(Snapshot.of([*locality(**members), *front.snapshot()]))
                assert await get(port) == f"200 {next(iter(members))}"
