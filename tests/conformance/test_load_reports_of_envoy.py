"""What a real Envoy reports as a request and as an error; docs/adr/0016 says what follows from it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from apibank.envoy_process import EnvoyProcess, find_envoy, render_bootstrap
from protos import ext_authz_pb2, ext_authz_pb2_grpc
from tests.conformance.envoys import address, endpoints, envoy, free_port, resources
from xds.admission import ServerLimits
from xds.load_reports.load import ClusterLoad
from xds.load_reports.reports import SHORTEST_SECONDS, LoadReports, Reporter, Traffic
from xds.load_reports.server import register
from xds.publisher import Publisher
from xds.server import serve

_TYPE = "type.googleapis.com/envoy.extensions."
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": _TYPE + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}
_LOAD_STATS = {
    "api_type": "GRPC",
    "transport_api_version": "V3",
    "grpc_services": [{"envoy_grpc": {"cluster_name": "control-plane"}}],
}
_OFF = {"authz": {"@type": _TYPE + "filters.http.ext_authz.v3.ExtAuthzPerRoute", "disabled": True}}
_NOBODY: dict[str, Any] = {"healthy_panic_threshold": {"value": 0}}
_PROBE = {
    "timeout": "0.2s",
    "interval": "0.1s",
    "no_traffic_interval": "0.1s",
    "unhealthy_threshold": 1,
    "healthy_threshold": 1,
    "tcp_health_check": {},
}

_SERVICES = ("control-plane", "services/authz")
# Backends that do not answer: one waits, one closes the connection.
SILENT, CUT = 0, 1

# By path: the status that the client sees, and what two such requests add to the report.
SEEN = {
    "/200": (200, Traffic(2, 0)),
    "/404": (404, Traffic(2, 0)),
    "/500": (500, Traffic(2, 2)),
    "/503": (503, Traffic(2, 2)),
    "/silent": (504, Traffic(2, 2)),
    "/cut": (503, Traffic(2, 2)),
    "/unreachable": (503, Traffic(2, 2)),
    "/full": (503, Traffic(2, 2)),
    "/retried": (503, Traffic(4, 4)),
    # Authorization is asked, says no, and no upstream hears of it.
    "/authz/denied": (403, Traffic(0, 0)),
    "/authz/fails": (503, Traffic(2, 2)),
    "/authz/late": (503, Traffic(2, 2)),
    "/authz/allowed": (200, Traffic(2, 0)),
    # What no report tells.
    "/empty": (503, Traffic(0, 0)),
    "/unhealthy": (503, Traffic(0, 0)),
    "/direct": (503, Traffic(0, 0)),
    "/nowhere": (503, Traffic(0, 0)),
}


class Authorization(ext_authz_pb2_grpc.AuthorizationServicer):
    async def Check(self, request: Any, context: Any) -> Any:
        path = request.attributes.request.http.path
        if path == "/authz/fails":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not today")
        if path == "/authz/late":
            await asyncio.sleep(1)
        response = ext_authz_pb2.CheckResponse()
        if path == "/authz/denied":
            response.status.code = 7
            response.denied_response.status.code = 403
        return response


class Reports(LoadReports):
    """Knows how many reports came, the first of which an Envoy sends before it begins to count."""

    def __init__(self) -> None:
        super().__init__()
        self.came = 0

    def add(self, reporter: Reporter, loads: Iterable[ClusterLoad]) -> None:
        super().add(reporter, loads)
        self.came += 1

    async def begun(self) -> None:
        """An Envoy counts from when it is told its interval, and not what was asked of it before."""
        async with asyncio.timeout(15):
            while self.came < 2:
                await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Edge:
    """An Envoy that reports to this process."""

    port: int
    reports: LoadReports

    async def ask(self, path: str) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return int(answer.split()[1])

    def total(self) -> Traffic:
        return self.reports.totals("edge").get("edge-1", Traffic())

    async def at_least(self, requests: int) -> Traffic:
        async with asyncio.timeout(15):
            while self.total().requests < requests:
                await asyncio.sleep(0.02)
        return self.total()


def cluster(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    return {"name": name, "connect_timeout": "0.3s", "load_assignment": endpoints(name, *ports)} | fields


def configuration(port: int, admin: int, control_plane: int, upstreams: Mapping[str, Any]) -> str:
    to = {"timeout": "0.3s"}
    routes = [
        {"match": {"path": f"/{name}"}, "route": {"cluster": name} | to, "typed_per_filter_config": _OFF}
        for name in (*upstreams, "nowhere")
    ]
    retrying = {"cluster": "503", "retry_policy": {"retry_on": "5xx", "num_retries": 1}} | to
    routes += [
        {"match": {"path": "/retried"}, "route": retrying, "typed_per_filter_config": _OFF},
        {"match": {"path": "/direct"}, "direct_response": {"status": 503}, "typed_per_filter_config": _OFF},
        {"match": {"prefix": "/authz/"}, "route": {"cluster": "200"} | to},
    ]
    authz = {
        "@type": _TYPE + "filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "services/authz"}, "timeout": "0.2s"},
        "status_on_error": {"code": 503},
    }
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    manager = {
        "@type": _TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": hosts, "validate_clusters": False},
        "http_filters": [
            {"name": "authz", "typed_config": authz},
            {"name": "router", "typed_config": {"@type": _TYPE + "filters.http.router.v3.Router"}},
        ],
    }
    services = [cluster(name, control_plane, typed_extension_protocol_options=_HTTP2) for name in _SERVICES]
    chains = [{"filters": [{"name": "http", "typed_config": manager}]}]
    return json.dumps(
        {
            "node": {"id": "edge-1", "cluster": "edge"},
            "admin": {"address": address(admin)},
            "cluster_manager": {"load_stats_config": _LOAD_STATS},
            "static_resources": {
                "listeners": [{"name": "edge", "address": address(port), "filter_chains": chains}],
                "clusters": [*upstreams.values(), *services],
            },
        }
    )


@contextlib.asynccontextmanager
async def control_plane(reports: LoadReports, port: int = 0, limits: ServerLimits | None = None) -> AsyncIterator[int]:
    """What takes the reports, and authorization beside it; the value is its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    register(server, reports, lambda node, context: "", limits)
    ext_authz_pb2_grpc.add_AuthorizationServicer_to_server(Authorization(), server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@contextlib.contextmanager
def listening(server: asyncio.Server) -> Iterator[int]:
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def says(status: int, *, answer: bool = True) -> asyncio.Server:
    """A backend that reads one request, answers it or not, and closes the connection."""

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            if answer:
                writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            elif status == SILENT:
                await reader.read()
        writer.close()

    return await asyncio.start_server(serve_one, "127.0.0.1", 0)


@contextlib.asynccontextmanager
async def upstreams() -> AsyncIterator[dict[str, Any]]:
    nothing = {"max_requests": 0, "max_pending_requests": 0, "max_connections": 0}
    servers = {str(status): says(status) for status in (200, 404, 500, 503)}
    servers |= {"silent": says(SILENT, answer=False), "cut": says(CUT, answer=False)}
    with contextlib.ExitStack() as stack:
        found = {name: cluster(name, stack.enter_context(listening(await each))) for name, each in servers.items()}
        yield found | {
            "unreachable": cluster("unreachable", free_port()),
            "full": cluster("full", free_port(), circuit_breakers={"thresholds": [nothing]}),
            "empty": cluster("empty"),
            "unhealthy": cluster("unhealthy", free_port(), health_checks=[_PROBE], common_lb_config=_NOBODY),
        }


@contextlib.asynccontextmanager
async def edge(folder: Path, reports: LoadReports, control_plane: int) -> AsyncIterator[Edge]:
    port, admin = free_port(), free_port()
    async with upstreams() as clusters, envoy(configuration(port, admin, control_plane, clusters), folder, admin):
        yield Edge(port, reports)


async def test_what_envoy_reports_as_a_request_and_as_an_error(tmp_path: Path) -> None:
    reports = Reports()
    told = {}
    async with control_plane(reports) as port, edge(tmp_path, reports, port) as envoy_:
        with reports.watch("edge", SHORTEST_SECONDS):
            await reports.begun()
            for path, (_, expected) in SEEN.items():
                before = envoy_.total()
                statuses = {await envoy_.ask(path), await envoy_.ask(path)}
                # A report with this one tells of the others too, if any does.
                assert await envoy_.ask("/200") == 200
                after = await envoy_.at_least(before.requests + expected.requests + 1)
                told[path] = (*statuses, Traffic(after.requests - before.requests - 1, after.errors - before.errors))
    assert told == SEEN


async def test_envoy_reports_again_after_the_control_plane_was_away(tmp_path: Path) -> None:
    first, second = Reports(), Reports()
    async with contextlib.AsyncExitStack() as stack:
        async with control_plane(first) as port:
            envoy_ = await stack.enter_async_context(edge(tmp_path, first, port))
            with first.watch("edge", 0.2):
                await first.begun()
                assert await envoy_.ask("/200") == 200
                await envoy_.at_least(1)
        assert await envoy_.ask("/200") == 200
        await stack.enter_async_context(control_plane(second, port))
        with second.watch("edge", 0.2):
            # Envoy waits 5 s before it tries again.
            await second.begun()
            assert await envoy_.ask("/500") == 500
            again = Edge(envoy_.port, second)
            async with asyncio.timeout(5):
                while not again.total().errors:
                    await asyncio.sleep(0.02)
            assert again.total().errors == 1


async def test_an_envoy_without_any_request_reports_all_the_same_and_is_not_taken_for_silent(tmp_path: Path) -> None:
    reports = Reports()
    limits = ServerLimits(load_silence_seconds=1.0)
    async with control_plane(reports, limits=limits) as port, edge(tmp_path, reports, port):
        with reports.watch("edge", 0.2):
            await reports.begun()
            before = reports.came
            await asyncio.sleep(2 * limits.load_silence_seconds)
            assert reports.connected("edge") == {"edge-1"}
            assert reports.came > before + 2


async def test_an_envoy_as_the_federation_starts_it_reports_beside_its_discovery(tmp_path: Path) -> None:
    publisher, reports = Publisher(), Reports()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1", load_reports=reports)
    port, admin = free_port(), free_port()
    process = EnvoyProcess(
        name="edge-1",
        node_id="edge-1",
        node_cluster="edge",
        admin_port=admin,
        control_plane=(f"127.0.0.1:{running.port}",),
        listeners=1,
        binary=find_envoy(),
    )
    server = await says(500)
    try:
        with listening(server) as upstream:
            publisher.set_snapshot("edge", resources(port, {"a": upstream}, "a").snapshot())
            async with envoy(render_bootstrap(process), tmp_path, admin):
                with reports.watch("edge", 0.2):
                    await reports.begun()
                    envoy_ = Edge(port, reports)
                    assert await envoy_.ask("/") == 500
                    assert await envoy_.at_least(1) == Traffic(1, 1)
    finally:
        await running.stop(0)


async def test_nothing_comes_of_a_control_plane_that_takes_no_reports(tmp_path: Path) -> None:
    running = await serve(Publisher(), "127.0.0.1:0", identifier="replica-1")
    try:
        async with edge(tmp_path, LoadReports(), running.port) as envoy_:
            assert await envoy_.ask("/200") == 200
    finally:
        await running.stop(0)
