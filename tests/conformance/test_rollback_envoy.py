"""What a real Envoy refuses goes back, and the rest of the same change is live."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
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
    resources,
    route,
)
from xds.publisher import Publisher
from xds.rollback import RolledBack
from xds.server import serve
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot

pytestmark = pytest.mark.e2e
AGGREGATED = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
WITHIN = 20.0
# An operator shall hear of a refusal within this many seconds of the change.
REPORTED_WITHIN = 1.0


class Driven:
    """An Envoy that runs a listener and a route to backend x, and the control plane that drives it."""

    def __init__(self, publisher: Publisher, port: int, backends: dict[str, int]) -> None:
        self.publisher = publisher
        self.port = port
        self.backends = backends
        self.reported: list[tuple[float, RolledBack]] = []
        publisher.on_rollback(lambda _, report: self.reported.append((time.monotonic(), report)))

    def resources(self, to: str) -> Resources:
        return resources(self.port, {to: self.backends[to]}, to)

    async def publish(self, snapshot: Snapshot) -> RolledBack:
        """Publish something of which one resource is refused; returns what was rolled back, once all else is live."""
        began = time.monotonic()
        self.publisher.set_snapshot("edge", snapshot)
        async with asyncio.timeout(WITHIN):
            while not self.reported:
                await asyncio.sleep(0.01)
        ((at, report),) = self.reported
        assert at - began < REPORTED_WITHIN
        liveness = self.publisher.live("edge", snapshot.version)
        assert liveness.rolled_back == (report,)
        assert [each.message for each in liveness.refused["edge-1"]] == [report.message]
        served = self.publisher.snapshot("edge")
        assert served is not None
        assert (await self.publisher.wait_live("edge", served.version, within=WITHIN)).complete
        assert self.publisher.good("edge") is served
        return report

    async def pushes_nothing(self, while_: Callable[[], Any]) -> None:
        stream = next(iter(self.publisher.nodes.connections("edge"))).stream
        before = {each.type_url: each.last_nonce for each in stream.subscriptions.values()}
        while_()
        await asyncio.sleep(0.5)
        assert {each.type_url: each.last_nonce for each in stream.subscriptions.values()} == before


@pytest.fixture
async def driven(tmp_path: Path, delta: bool) -> AsyncIterator[Driven]:
    async with contextlib.AsyncExitStack() as stack:
        publisher = Publisher()
        server = await serve(publisher, "127.0.0.1:0", identifier="replica-1")
        stack.push_async_callback(server.stop, 0)
        backends = {name: await stack.enter_async_context(backend(name)) for name in ("x", "y")}
        one = Driven(publisher, free_port(), backends)
        first = one.resources("x").snapshot()
        publisher.set_snapshot("edge", first)
        admin = free_port()
        await stack.enter_async_context(envoy(bootstrap(server.port, admin, delta=delta), tmp_path / "envoy", admin))
        assert (await publisher.wait_live("edge", first.version, within=WITHIN)).complete
        assert publisher.good("edge") is first
        yield one


@AGGREGATED
async def test_a_listener_on_a_taken_port_goes_back_and_the_new_backend_is_live(driven: Driven) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        change = driven.resources("y").add(LISTENER, listener(taken.getsockname()[1]) | {"name": "second"}).snapshot()
        report = await driven.publish(change)
    assert (report.type_url, report.name, report.served) == (LISTENER, "second", None)
    assert "Address already in use" in report.message
    assert str(report.origin) == "edge.yaml:5"
    assert await get(driven.port) == "200 y"
    # It stays away, although the same change is published again.
    await driven.pushes_nothing(lambda: driven.publisher.set_snapshot("edge", change))


@AGGREGATED
async def test_a_route_with_a_bad_pattern_goes_back_with_the_cluster_it_needs_and_a_new_listener_is_live(
    driven: Driven,
) -> None:
    other = free_port()
    change = Resources().add(CLUSTER, cluster("y")).add(ENDPOINT, endpoints("y", driven.backends["y"]))
    change.add(LISTENER, listener(driven.port), listener(other, route="other") | {"name": "second"})
    change.add(ROUTE, route("y", safe_regex={"regex": "(unclosed"}), route("y", name="other"))
    report = await driven.publish(change.snapshot())
    assert (report.type_url, report.name) == (ROUTE, "r")
    assert "missing )" in report.message
    assert str(report.origin) == "edge.yaml:5"
    assert await get(driven.port) == "200 x"
    assert await get(other) == "200 y"


@AGGREGATED
async def test_a_key_that_does_not_fit_its_certificate_goes_back_to_the_one_in_use(driven: Driven) -> None:
    authority = Authority()
    key, certificate = authority.issue("first.test")
    good = with_secret(driven.resources("x"), driven.backends["y"], key, certificate).snapshot()
    driven.publisher.set_snapshot("edge", good)
    assert (await driven.publisher.wait_live("edge", good.version, within=WITHIN)).complete
    wrong_key, _ = authority.issue("second.test")
    bad = with_secret(driven.resources("y"), driven.backends["y"], wrong_key, certificate).snapshot()
    report = await driven.publish(bad)
    assert (report.type_url, report.name) == (SECRET, "identity")
    assert report.served == good.resources[SECRET]["identity"].version
    assert await get(driven.port) == "200 y"


def with_secret(built: Resources, port: int, key: bytes, certificate: bytes) -> Resources:
    """And a cluster that shows this certificate to its hosts."""
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [
                {"name": "identity", "sds_config": {"ads": {}, "resource_api_version": "V3"}}
            ]
        },
    }
    built.add(CLUSTER, cluster("secured", transport_socket={"name": "tls", "typed_config": context}))
    built.add(ENDPOINT, endpoints("secured", port))
    pair = {
        "certificate_chain": {"inline_string": certificate.decode()},
        "private_key": {"inline_string": key.decode()},
    }
    return built.add(SECRET, {"name": "identity", "tls_certificate": pair})
