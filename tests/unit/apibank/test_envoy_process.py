"""A real Envoy, started, watched and drained as the stack does it; its control plane is a few lines of delta ADS."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import psutil
import pytest
import yaml
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.extensions.filters.http.health_check.v3 import HealthCheck  # noqa: F401 - for @type
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router  # noqa: F401 - for @type
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,  # noqa: F401 - for @type
)

from apibank.certificates import DevelopmentCertificates, KeyPair, ensure_certificates
from apibank.envoy_process import (
    EnvoyNotFoundError,
    EnvoyProcess,
    envoy_child,
    envoy_command,
    find_envoy,
    render_bootstrap,
)
from apibank.envoy_secrets import ControlPlaneTls
from apibank.probes import ask_http
from apibank.supervisor import Happening, Supervisor
from protos import discovery_pb2, discovery_pb2_grpc

LISTENER_TYPE = "type.googleapis.com/envoy.config.listener.v3.Listener"
CLUSTER_TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

LISTENER = """
name: mesh
address: {socket_address: {address: 127.0.0.1, port_value: PORT}}
filter_chains:
- filters:
  - name: hcm
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
      stat_prefix: mesh
      http_filters:
      - name: health
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
          pass_through_mode: false
          headers: [{name: ":path", string_match: {exact: /healthz}}]
      - name: router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
      route_config:
        virtual_hosts:
        - name: all
          domains: ["*"]
          routes: [{match: {prefix: /}, direct_response: {status: 200, body: {inline_string: hello}}}]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OneListener(discovery_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Delta ADS that gives every node the same listener and no cluster, and remembers who asked."""

    def __init__(self, port: int) -> None:
        self.nodes: list[tuple[str, str]] = []
        listener = Listener.from_dict(yaml.safe_load(LISTENER.replace("PORT", str(port))))
        self._body = bytes(listener)

    async def DeltaAggregatedResources(self, request_iterator, context):  # type: ignore[no-untyped-def]
        answered = set()
        async for request in request_iterator:
            if request.node.id:
                self.nodes.append((request.node.id, request.node.cluster))
            if request.type_url in answered:
                continue
            answered.add(request.type_url)
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=request.type_url, nonce="1")
            if request.type_url == LISTENER_TYPE:
                one = response.resources.add(name="mesh", version="1")
                one.resource.type_url, one.resource.value = LISTENER_TYPE, self._body
            yield response


@asynccontextmanager
async def control_plane(
    port: int, listener_port: int, server: KeyPair | None = None, ca_file: Path | None = None
) -> AsyncIterator[OneListener]:
    service, running = OneListener(listener_port), grpc.aio.server()
    # grpc's generated code has no types.
    discovery_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(service, running)  # type: ignore[no-untyped-call]
    if server is None or ca_file is None:
        running.add_insecure_port(f"127.0.0.1:{port}")
    else:
        pair = (server.key_file.read_bytes(), server.chain_file.read_bytes())
        running.add_secure_port(
            f"127.0.0.1:{port}",
            grpc.ssl_server_credentials([pair], ca_file.read_bytes(), require_client_auth=True),
        )
    await running.start()
    try:
        yield service
    finally:
        await running.stop(None)


@pytest.fixture
def envoy() -> EnvoyProcess:
    return EnvoyProcess(
        name="envoy-marketing",
        node_id="marketing-1",
        node_cluster="marketing",
        admin_port=free_port(),
        control_plane=(f"127.0.0.1:{free_port()}",),
        listeners=1,
        binary=find_envoy(),
        drain_seconds=5,
    )


@pytest.fixture
def certificates(tmp_path: Path) -> DevelopmentCertificates:
    return ensure_certificates(tmp_path, ("marketing", "sales"), datetime.now(UTC))


def port_of(envoy: EnvoyProcess) -> int:
    return int(envoy.control_plane[0].rpartition(":")[2])


@asynccontextmanager
async def supervised(envoy: EnvoyProcess, folder: Path) -> AsyncIterator[tuple[Supervisor, list[Happening]]]:
    told: list[Happening] = []
    supervisor = Supervisor(folder / "logs", lambda event: told.append(event.happening))
    try:
        await supervisor.start(envoy_child(envoy, folder))
        yield supervisor, told
    finally:
        await supervisor.stop()


async def test_it_is_ready_when_it_serves_what_its_control_plane_gave_it(envoy: EnvoyProcess, tmp_path: Path) -> None:
    listener = free_port()
    async with control_plane(port_of(envoy), listener) as plane, supervised(envoy, tmp_path) as (supervisor, told):
        assert (await ask_http(f"127.0.0.1:{listener}", "/")).body == b"hello"
        assert not await envoy.admin.is_ready(2), "one more listener than there is"
        pid = supervisor.pids()["envoy-marketing"]
    assert plane.nodes == [("marketing-1", "marketing")]
    assert not psutil.pid_exists(pid)
    # It left by itself, as it was asked to, and was not killed.
    assert told == [Happening.STARTED, Happening.READY, Happening.DRAINING, Happening.STOPPED]


async def test_it_is_not_ready_without_a_configuration(envoy: EnvoyProcess, tmp_path: Path) -> None:
    async def answers() -> bool:
        return (await ask_http(envoy.admin.target, "/ready")).status == 503

    supervisor = Supervisor(tmp_path / "logs", lambda event: None)
    try:
        await supervisor.start(replace(envoy_child(envoy, tmp_path), ready=answers))
        assert not await envoy.admin.is_ready(0)
    finally:
        await supervisor.stop()
    dynamic = yaml.safe_load(render_bootstrap(envoy))["dynamic_resources"]
    # Envoy gives up after 15 s by default, and calls itself ready.
    assert {dynamic[part]["initial_fetch_timeout"] for part in ("lds_config", "cds_config")} == {"0s"}


async def test_a_request_that_has_begun_is_answered_while_it_drains(envoy: EnvoyProcess, tmp_path: Path) -> None:
    listener = free_port()
    async with control_plane(port_of(envoy), listener), supervised(envoy, tmp_path) as (supervisor, told):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        assert await envoy.admin.open_connections() == 1
        stopping = asyncio.create_task(supervisor.stop())
        while (await ask_http(f"127.0.0.1:{listener}", "/healthz")).status != 503:
            await asyncio.sleep(0.01)
        # The connection that was open is served still; then its client leaves, and nothing holds the Envoy any more.
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        writer.close()
        await stopping
    assert told[-1] is Happening.STOPPED


async def test_an_idle_connection_holds_it_no_longer_than_the_bound(envoy: EnvoyProcess, tmp_path: Path) -> None:
    listener = free_port()
    short = replace(envoy, drain_seconds=1)
    async with control_plane(port_of(envoy), listener), supervised(short, tmp_path) as (supervisor, told):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener)
        writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await reader.readuntil(b"hello")
        await supervisor.stop()
        assert await reader.read() == b""
        writer.close()
    assert told[-1] is Happening.STOPPED


async def test_a_killed_envoy_comes_back_with_its_configuration(envoy: EnvoyProcess, tmp_path: Path) -> None:
    listener = free_port()
    async with control_plane(port_of(envoy), listener), supervised(envoy, tmp_path) as (supervisor, told):
        os.kill(supervisor.pids()["envoy-marketing"], signal.SIGKILL)
        async with asyncio.timeout(20):
            while told.count(Happening.READY) < 2:
                await asyncio.sleep(0.02)
        assert (await ask_http(f"127.0.0.1:{listener}", "/")).status == 200


@pytest.mark.parametrize(("identity", "accepted"), [("control-plane", True), ("gateway/sales", False)])
async def test_over_tls_both_sides_prove_who_they_are(
    envoy: EnvoyProcess, certificates: DevelopmentCertificates, tmp_path: Path, identity: str, accepted: bool
) -> None:
    listener = free_port()
    tls = ControlPlaneTls(certificates.mesh["marketing"], certificates.ca_file, f"spiffe://waooaw.ai/{identity}")
    secure = replace(envoy, tls=tls)
    plane = control_plane(port_of(envoy), listener, certificates.control_plane, certificates.ca_file)
    async with plane as service:
        child = envoy_child(secure, tmp_path)
        supervisor = Supervisor(tmp_path / "logs", lambda event: None)
        refused = "cluster.control-plane.ssl.fail_verify_san"

        async def settled() -> bool:
            if accepted:
                return await secure.admin.is_ready(1)
            return (await secure.admin.stats(refused.replace(".", r"\."))).get(refused, 0) > 0

        try:
            await supervisor.start(replace(child, ready=settled))
        finally:
            await supervisor.stop()
    assert service.nodes == ([("marketing-1", "marketing")] if accepted else [])


@pytest.mark.parametrize("control", [("127.0.0.1:1",), ("[::1]:1", "127.0.0.1:2"), ("xds-0.example:1", "xds-1:2")])
@pytest.mark.parametrize("secure", [False, True])
def test_every_bootstrap_is_one_that_envoy_accepts(
    envoy: EnvoyProcess, certificates: DevelopmentCertificates, tmp_path: Path, control: tuple[str, ...], secure: bool
) -> None:
    tls = ControlPlaneTls(certificates.mesh["marketing"], certificates.ca_file, "spiffe://waooaw.ai/control-plane")
    odd = replace(
        envoy, control_plane=control, tls=tls if secure else None, node_id='a"b: {c}\n$d', most_connections=77
    )
    path = tmp_path / "bootstrap.yaml"
    path.write_text(render_bootstrap(odd))
    run = subprocess.run(
        [*envoy_command(odd, path), "--mode", "validate"], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    read = yaml.safe_load(path.read_text())
    assert read["node"] == {"id": 'a"b: {c}\n$d', "cluster": "marketing"}
    assert read["static_resources"]["clusters"][0]["type"] == ("STRICT_DNS" if "xds-1:2" in control else "STATIC")


def test_admin_listens_on_loopback_alone(envoy: EnvoyProcess) -> None:
    assert yaml.safe_load(render_bootstrap(envoy))["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_an_envoy_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(EnvoyNotFoundError, match="/nowhere/envoy"):
        find_envoy(Path("/nowhere/envoy"))


def test_the_envoy_that_comes_with_apibank_is_an_executable_of_its_version() -> None:
    run = subprocess.run([find_envoy(), "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert "/1.40.0/" in run.stdout
