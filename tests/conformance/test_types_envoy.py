"""Every type of the table in docs/conformance.md through a real Envoy that has nothing but a bootstrap."""

import asyncio
import contextlib
import json
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.authority import Authority
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
    route,
)
from tests.conformance.talks import ADS, ALL
from xds.compiler.plain import plain_resource
from xds.publisher import Publisher
from xds.server import serve
from xds.snapshot import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
    Resource,
    Snapshot,
)

pytestmark = pytest.mark.e2e
EVERY = pytest.mark.parametrize("variant", ALL)
WITHIN = 20.0
_TYPE = "type.googleapis.com/envoy.extensions."
_ROUTER = {"name": "router", "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"}}
_FAULT = _TYPE + "filters.http.fault.v3.HTTPFault"
# Envoy waits this long for what it has been promised, and a test that takes as long has failed.
FETCH_TIMEOUT = 15.0


def source(variant: str) -> dict[str, Any]:
    """Where an Envoy of that variant gets its resources from."""
    if variant in ADS:
        return {"ads": {}, "resource_api_version": "V3"}
    kind = ("DELTA_" if variant.startswith("delta") else "") + "GRPC"
    service = {"envoy_grpc": {"cluster_name": "xds"}}
    api = {"api_type": kind, "transport_api_version": "V3", "grpc_services": [service]}
    return {"api_config_source": api, "resource_api_version": "V3"}


class Running:
    """An Envoy, and the control plane that it gets everything from."""

    def __init__(self, publisher: Publisher, admin: str) -> None:
        self.publisher = publisher
        self._admin = admin

    async def runs(self, snapshot: Snapshot) -> None:
        """Publish; return when the Envoy has accepted all of it, long before it would give up waiting for some."""
        self.publisher.set_snapshot("edge", snapshot)
        async with asyncio.timeout(FETCH_TIMEOUT - 5):
            liveness = await self.publisher.wait_live("edge", snapshot.version, within=WITHIN)
        assert liveness.complete, liveness

    async def admin(self, path: str) -> Any:
        def read() -> str:
            with urllib.request.urlopen(self._admin + path, timeout=5) as answer:
                return str(answer.read().decode())

        return json.loads(await asyncio.to_thread(read))

    def refused(self) -> tuple[str, ...]:
        return tuple(each.message for status in self.publisher.nodes.status("edge") for each in status.refused)


Run = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """`run(variant, snapshot)`: an Envoy that runs it; it must be ready before its fetch timeout."""
    async with contextlib.AsyncExitStack() as stack:

        async def started(variant: str, snapshot: Snapshot, **extra: Any) -> Running:
            publisher = Publisher()
            server = await serve(publisher, "127.0.0.1:0", identifier="replica-1")
            stack.push_async_callback(server.stop, 0)
            publisher.set_snapshot("edge", snapshot)
            admin = free_port()
            delta = variant.startswith("delta")
            config = json.loads(bootstrap(server.port, admin, delta=delta, aggregated=variant in ADS)) | extra
            async with asyncio.timeout(FETCH_TIMEOUT - 5):
                address = await stack.enter_async_context(envoy(json.dumps(config), tmp_path / "envoy", admin))
            running = Running(publisher, address)
            await running.runs(snapshot)
            return running

        yield started


@pytest.fixture
async def x() -> AsyncIterator[int]:
    async with backend("x") as port:
        yield port


def served(variant: str, port: int, x: int | None, **manager: Any) -> Resources:
    """A listener on this port, whose route goes to a cluster with this endpoint, or with none."""
    built = Resources().add(CLUSTER, cluster("x", source(variant)))
    built.add(ENDPOINT, endpoints("x") if x is None else endpoints("x", x))
    return built.add(LISTENER, listener(port, source=source(variant), **manager))


@EVERY
async def test_cds_lds_come_change_and_go(run: Run, x: int, variant: str) -> None:
    port, other = free_port(), free_port()
    first = served(variant, port, x).add(ROUTE, route("x")).snapshot()
    running = await run(variant, first)
    assert await get(port) == "200 x"
    more = listener(other, source=source(variant)) | {"name": "second"}
    both = served(variant, port, x).add(ROUTE, route("x")).add(LISTENER, more).snapshot()
    await running.runs(both)
    assert await get(other) == "200 x"
    await running.runs(first)
    async with asyncio.timeout(WITHIN):
        while len(await listeners(running)) != 1:
            await asyncio.sleep(0.02)
    assert await get(port) == "200 x"


async def listeners(running: Running) -> list[Mapping[str, Any]]:
    return list((await running.admin("/listeners?format=json")).get("listener_statuses", []))


@EVERY
async def test_o2_a_changed_cluster_is_in_use_long_before_the_fetch_timeout(run: Run, x: int, variant: str) -> None:
    port = free_port()
    running = await run(variant, served(variant, port, x).add(ROUTE, route("x")).snapshot())
    changed = Resources().add(CLUSTER, cluster("x", source(variant), connect_timeout="2s"))
    changed.add(ENDPOINT, endpoints("x", x)).add(LISTENER, listener(port, source=source(variant)))
    await running.runs(changed.add(ROUTE, route("x")).snapshot())
    async with asyncio.timeout(FETCH_TIMEOUT - 5):
        while '"2s"' not in json.dumps(await running.admin("/config_dump?resource=dynamic_active_clusters")):
            await asyncio.sleep(0.05)
    assert await get(port) == "200 x"


@EVERY
async def test_eds_a_cluster_without_endpoints_does_not_keep_an_envoy_from_starting(run: Run, variant: str) -> None:
    port = free_port()
    # Were no ClusterLoadAssignment sent, it would hang until its fetch timeout (envoyproxy/envoy#4485).
    await run(variant, served(variant, port, None).add(ROUTE, route("x")).snapshot())
    assert await get(port) == "503 no healthy upstream"


@EVERY
async def test_eds_endpoints_that_come_later_are_used(run: Run, x: int, variant: str) -> None:
    port = free_port()
    running = await run(variant, served(variant, port, None).add(ROUTE, route("x")).snapshot())
    await running.runs(served(variant, port, x).add(ROUTE, route("x")).snapshot())
    assert await get(port) == "200 x"


@EVERY
async def test_rds_an_absent_route_configuration_is_not_a_deleted_one(run: Run, x: int, variant: str) -> None:
    port = free_port()
    running = await run(variant, served(variant, port, x).add(ROUTE, route("x")).snapshot())
    await running.runs(served(variant, port, x).snapshot())
    assert await get(port) == "200 x"
    assert running.refused() == ()


@EVERY
async def test_sds_a_secret_is_never_taken_from_who_refers_to_it(run: Run, x: int, variant: str) -> None:
    port = free_port()
    key, certificate = Authority().issue("first.test")
    secret = {
        "name": "identity",
        "tls_certificate": {
            "certificate_chain": {"inline_string": certificate.decode()},
            "private_key": {"inline_string": key.decode()},
        },
    }
    context = {
        "@type": _TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "identity", "sds_config": source(variant)}]
        },
    }
    secured = cluster("s", source(variant), transport_socket={"name": "tls", "typed_config": context})

    def built() -> Resources:
        resources = served(variant, port, x).add(ROUTE, route("x"))
        return resources.add(CLUSTER, secured).add(ENDPOINT, endpoints("s", x))

    running = await run(variant, built().add(SECRET, secret).snapshot())
    assert await active_secrets(running) == ["identity"]
    await running.runs(built().snapshot())
    assert await active_secrets(running) == ["identity"]
    assert running.refused() == ()
    assert await get(port) == "200 x"


async def active_secrets(running: Running) -> list[str]:
    dump = await running.admin("/config_dump?resource=dynamic_active_secrets")
    return [each["name"] for each in dump.get("configs", [])]


@EVERY
async def test_rtds_a_layer_is_found_by_its_name(run: Run, x: int, variant: str) -> None:
    port = free_port()

    def built(value: int) -> Snapshot:
        layer = {"name": "live", "layer": {"apibank.test": value}}
        return served(variant, port, x).add(ROUTE, route("x")).add(RUNTIME, layer).snapshot()

    layers = [{"name": "live", "rtds_layer": {"name": "live", "rtds_config": source(variant)}}]
    running = await run(variant, built(1), layered_runtime={"layers": layers})
    for value in (1, 2):
        await running.runs(built(value))
        shown = await running.admin("/runtime")
        assert shown["layers"] == ["live"]
        assert shown["entries"]["apibank.test"]["final_value"] == str(value)


@EVERY
async def test_ecds_a_changed_filter_is_in_force_on_open_connections(run: Run, x: int, variant: str) -> None:
    port = free_port()
    discovered = {"name": "faults", "config_discovery": {"config_source": source(variant), "type_urls": [_FAULT]}}

    def built(status: int) -> Resources:
        abort = {"http_status": status, "percentage": {"numerator": 100}}
        fault = {"name": "faults", "typed_config": {"@type": _FAULT, "abort": abort}}
        resources = served(variant, port, x, http_filters=[discovered, _ROUTER]).add(ROUTE, route("x"))
        return resources.add(EXTENSION, fault)

    running = await run(variant, built(418).snapshot())
    connection = await asyncio.open_connection("127.0.0.1", port)
    assert (await get(port, connection)).startswith("418 ")
    await running.runs(built(429).snapshot())
    assert (await get(port, connection)).startswith("429 ")
    # It is never taken away while the listener refers to it: Envoy would answer 500 (envoyproxy/envoy#32823).
    without = served(variant, port, x, http_filters=[discovered, _ROUTER]).add(ROUTE, route("x"))
    await running.runs(without.snapshot())
    assert (await get(port, connection)).startswith("429 ")
    connection[1].close()


@EVERY
async def test_srds_a_request_finds_its_routes_by_its_scope(run: Run, x: int, variant: str) -> None:
    port = free_port()
    scoped = {
        "name": "scopes",
        "scope_key_builder": {
            "fragments": [{"header_value_extractor": {"name": ":authority", "element_separator": "", "index": 0}}]
        },
        "rds_config_source": source(variant),
        "scoped_rds": {"scoped_rds_config_source": source(variant)},
    }

    def built(host: str) -> Snapshot:
        resources = Resources().add(CLUSTER, cluster("x", source(variant))).add(ENDPOINT, endpoints("x", x))
        by_scope = listener(port, scoped_routes=scoped)
        del by_scope["filter_chains"][0]["filters"][0]["typed_config"]["rds"]
        key = {"fragments": [{"string_key": host}]}
        scope = {"name": "one", "route_configuration_name": "r", "key": key}
        return resources.add(LISTENER, by_scope).add(SCOPED_ROUTE, scope).add(ROUTE, route("x")).snapshot()

    running = await run(variant, built("test"))
    assert await get(port) == "200 x"
    await running.runs(built("another"))
    assert await get(port) == "404"


@pytest.mark.parametrize("variant", ["delta, ADS", "delta, separate"])
async def test_vhds_a_virtual_host_comes_when_a_request_asks_for_it(run: Run, x: int, variant: str) -> None:
    port = free_port()
    on_demand = {"name": "on_demand", "typed_config": {"@type": _TYPE + "filters.http.on_demand.v3.OnDemand"}}

    def built(*hosts: str) -> Snapshot:
        resources = served(variant, port, x, http_filters=[on_demand, _ROUTER])
        resources.take(*plain(ROUTE, {"name": "r", "vhds": {"config_source": source(variant)}}))
        for host in ("always", *hosts):
            routes = [{"match": {"prefix": "/"}, "route": {"cluster": "x"}}]
            type_url, one = plain(VIRTUAL_HOST, {"name": host, "domains": [host], "routes": routes})
            # One without an alias comes unasked. Were there none, Envoy would wait out its fetch timeout before it is
            # ready (envoyproxy/envoy#23095).
            aliases = [f"r/{host}"] if host in hosts else []
            resources.take(type_url, Resource.of(f"r/all {host}", one.body, aliases=aliases))
        return resources.snapshot()

    running = await run(variant, built())
    assert await get(port) == "404"
    await running.runs(built("test"))
    async with asyncio.timeout(WITHIN):
        while await get(port) != "200 x":
            await asyncio.sleep(0.05)


def plain(type_url: str, written: Mapping[str, Any]) -> tuple[str, Resource]:
    return plain_resource({"@type": type_url, **written})


@pytest.mark.parametrize("variant", ADS)
async def test_s11_an_envoy_shows_which_replica_it_hears(run: Run, x: int, variant: str) -> None:
    running = await run(variant, served(variant, free_port(), x).add(ROUTE, route("x")).snapshot())
    stats = await running.admin("/stats?format=json&type=TextReadouts&filter=control_plane.identifier")
    assert "replica-1" in {each["value"] for each in stats["stats"] if "name" in each}
