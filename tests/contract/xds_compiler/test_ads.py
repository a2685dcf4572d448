"""The compiled resources reach a real Envoy through the control plane, each by its own discovery service."""

import asyncio
import dataclasses
import http.client
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from apibank.certificates import ensure_certificates
from apibank.envoy_process import EnvoyProcess, find_envoy, render_bootstrap
from tests.contract.xds_compiler.federation import Federation, compiled, federation_overlays, free_port, load
from tests.contract.xds_compiler.services import Service, serve
from tests.contract.xds_compiler.static_envoy import running_on
from xds import server
from xds.publisher import Publisher

PATH = "/api/agents/orchestration"


@dataclasses.dataclass
class Driven:
    """Central on a real Envoy that a control plane drives."""

    federation: Federation
    publisher: Publisher
    overlay: dict[str, Any]
    admin: str
    live: str = ""

    async def publish(self, **changes: Any) -> None:
        """Publish central with these changes, and wait until the Envoy runs it."""
        snapshot = compiled(load("central", self.overlay | changes))
        self.publisher.set_snapshot("central", snapshot)
        liveness = await self.publisher.wait_live("central", snapshot.version, within=20)
        assert liveness.complete
        assert not liveness.refused

    async def call(self) -> tuple[int, dict[str, str], bytes]:
        return await asyncio.to_thread(self.federation.call, "GET", PATH, port=self.federation.internal)

    async def stat(self, name: str) -> int:
        def read() -> int:
            with urllib.request.urlopen(f"{self.admin}/stats?format=json&filter={name}", timeout=5) as answer:
                return sum(one["value"] for one in json.load(answer)["stats"] if "value" in one)

        return await asyncio.to_thread(read)


@pytest.fixture
async def driven(tmp_path: Path) -> AsyncIterator[Driven]:
    certificates = ensure_certificates(tmp_path, ["central", "marketing"], datetime.now(UTC))
    federation = Federation(free_port(), free_port(), free_port(), free_port(), certificates, {})
    services, port = serve(federation.authz, federation.ratelimit)
    publisher = Publisher()
    control = await server.serve(publisher, "127.0.0.1:0", identifier="test")
    admin = free_port()
    bootstrap = render_bootstrap(
        EnvoyProcess(
            name="envoy-central",
            node_id="central-1",
            node_cluster="central",
            admin_port=admin,
            control_plane=(f"127.0.0.1:{control.port}",),
            listeners=3,
            binary=find_envoy(),
        )
    )
    overlay = federation_overlays(federation, port)["central"]
    publisher.set_snapshot("central", compiled(load("central", overlay)))
    envoy = running_on(bootstrap, tmp_path / "envoy", admin)
    address = await asyncio.to_thread(envoy.__enter__)
    try:
        yield Driven(federation, publisher, overlay, address)
    finally:
        await asyncio.to_thread(envoy.__exit__, None, None, None)
        await control.stop(0)
        services.stop(0).wait()
        federation.service.stop()


async def _eventually(condition: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.mark.requirement("U2")
async def test_an_envoy_with_nothing_but_a_bootstrap_serves_what_the_policy_says(driven: Driven) -> None:
    await driven.publish()
    assert (await driven.call())[0] == 200
    assert await driven.stat("update_rejected") == 0
    assert await driven.stat("listener_manager.total_listeners_active") == 3


async def test_moved_endpoints_move_without_a_new_listener_or_cluster(driven: Driven) -> None:
    await driven.publish()
    listeners, clusters = await driven.stat("lds.update_success"), await driven.stat("cds.update_success")
    other = Service()
    try:
        agents = driven.overlay["upstreams"]["agents-gateway"] | {"endpoints": [other.endpoint]}
        await driven.publish(upstreams=driven.overlay["upstreams"] | {"agents-gateway": agents})
        assert (await driven.call())[0] == 200
        assert (driven.federation.service.hits, other.hits) == (0, 1)
        assert await driven.stat("lds.update_success") == listeners
        assert await driven.stat("cds.update_success") == clusters
    finally:
        other.stop()


async def test_a_renewed_certificate_is_shown_at_the_next_handshake(driven: Driven, tmp_path: Path) -> None:
    await driven.publish()
    federation = driven.federation
    renewed = ensure_certificates(tmp_path / "renewed", ["central", "marketing"], datetime.now(UTC))
    pair = {"chain_file": str(renewed.public.chain_file), "key_file": str(renewed.public.key_file)}
    await driven.publish(certificates=driven.overlay["certificates"] | {"public": pair})

    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", federation.https))

    async def is_renewed() -> bool:
        return await asyncio.to_thread(shown) in renewed.public.chain_file.read_text()

    await _eventually(is_renewed)


@pytest.mark.requirement("R113")
async def test_maintenance_and_blue_green_reach_an_open_connection_without_a_new_listener(driven: Driven) -> None:
    await driven.publish()
    listeners = await driven.stat("lds.update_success")
    federation, green = driven.federation, Service()
    context = ssl.create_default_context(cafile=str(federation.certificates.ca_file))
    connection = http.client.HTTPSConnection("127.0.0.1", federation.internal, context=context, timeout=10)

    def call() -> int:
        connection.request("GET", PATH)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    upstreams = driven.overlay["upstreams"] | {"green": {"endpoints": [green.endpoint]}}
    try:
        assert await asyncio.to_thread(call) == 200
        await driven.publish(routes={"agents": {"maintenance": {"message": "Back soon"}}})
        assert await asyncio.to_thread(call) == 503
        assert federation.service.hits == 1
        split = {"upstream": None, "split": {"agents-gateway": 0, "green": 1}}
        await driven.publish(upstreams=upstreams, routes={"agents": split})
        assert await asyncio.to_thread(call) == 200
        assert (federation.service.hits, green.hits) == (1, 1)
        await driven.publish(upstreams=upstreams)
        assert await asyncio.to_thread(call) == 200
        assert (federation.service.hits, green.hits) == (2, 1)
        assert await driven.stat("lds.update_success") == listeners
    finally:
        connection.close()
        green.stop()
