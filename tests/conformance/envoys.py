"""A real Envoy that has nothing but a bootstrap, plain resources for it, and what stands behind and before it."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.contract.xds_compiler.static_envoy import running_on
from xds.compiler.plain import plain_resource
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, Origin, Resource, Snapshot

_PREFIX = "type.googleapis.com/"
_MANAGER = _PREFIX + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = _PREFIX + "envoy.extensions.filters.http.router.v3.Router"
_HTTP_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_BY_ADS = {"ads": {}, "resource_api_version": "V3"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bootstrap(control_plane: int, admin: int, *, delta: bool, aggregated: bool = True) -> str:
    service = {"envoy_grpc": {"cluster_name": "xds", "retry_policy": {"retry_back_off": {"base_interval": "0.1s"}}}}
    kind = ("DELTA_" if delta else "") + "GRPC"
    source: dict[str, Any] = {"api_type": kind, "transport_api_version": "V3", "grpc_services": [service]}
    separate = {"api_config_source": source, "resource_api_version": "V3"}
    dynamic: dict[str, Any] = dict.fromkeys(("lds_config", "cds_config"), _BY_ADS if aggregated else separate)
    if aggregated:
        dynamic["ads_config"] = source | {"set_node_on_first_message_only": True}
    xds = {
        "name": "xds",
        "type": "STATIC",
        "load_assignment": endpoints("xds", control_plane),
        "typed_extension_protocol_options": {
            _HTTP_PROTOCOL_OPTIONS: {
                "@type": _PREFIX + _HTTP_PROTOCOL_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    return json.dumps(
        {
            "node": {"id": "edge-1", "cluster": "edge"},
            "admin": {"address": address(admin)},
            "dynamic_resources": dynamic,
            "static_resources": {"clusters": [xds]},
        }
    )


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def endpoints(name: str, *ports: int) -> dict[str, Any]:
    members = [{"endpoint": {"address": address(port)}} for port in ports]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": members}] if members else []}


def cluster(name: str, source: Mapping[str, Any] = _BY_ADS, **fields: Any) -> dict[str, Any]:
    return {"name": name, "type": "EDS", "connect_timeout": "1s", "eds_cluster_config": {"eds_config": source}} | fields


def listener(port: int, *, route: str = "r", source: Mapping[str, Any] = _BY_ADS, **manager: Any) -> dict[str, Any]:
    connection_manager = {
        "@type": _MANAGER,
        "stat_prefix": "edge",
        "rds": {"route_config_name": route, "config_source": source},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    } | manager
    filters = [{"name": "http", "typed_config": connection_manager}]
    return {"name": "edge", "address": address(port), "filter_chains": [{"filters": filters}]}


def route(to: str, name: str = "r", **match: Any) -> dict[str, Any]:
    routes = [{"match": match or {"prefix": "/"}, "route": {"cluster": to}}]
    return {"name": name, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}


class Resources:
    """Builds snapshots; each resource comes from a line of a policy file that does not exist."""

    def __init__(self) -> None:
        self._pairs: list[tuple[str, Resource]] = []

    def add(self, type_url: str, *written: Mapping[str, Any]) -> "Resources":
        for each in written:
            _, plain = plain_resource({"@type": type_url, **each})
            needs: list[tuple[str, str]] = []
            if type_url == ROUTE:
                hosts = each["virtual_hosts"]
                needs = [(CLUSTER, one["route"]["cluster"]) for host in hosts for one in host["routes"]]
            origin = Origin("edge.yaml", len(self._pairs) + 1)
            self._pairs.append((type_url, Resource.of(plain.name, plain.body, origin, needs)))
        return self

    def take(self, type_url: str, resource: Resource) -> "Resources":
        """Add one as it is."""
        self._pairs.append((type_url, resource))
        return self

    def snapshot(self) -> Snapshot:
        return Snapshot.of(self._pairs)


def resources(
    port: int,
    backends: Mapping[str, int],
    to: str,
    *,
    source: Mapping[str, Any] = _BY_ADS,
    listener_fields: Mapping[str, Any] | None = None,
) -> Resources:
    """A listener whose only route goes to one of these backends."""
    built = Resources()
    built.add(CLUSTER, *(cluster(name, source) for name in backends))
    built.add(ENDPOINT, *(endpoints(name, backend) for name, backend in backends.items()))
    built.add(LISTENER, listener(port, source=source, **(listener_fields or {})))
    return built.add(ROUTE, route(to))


@contextlib.asynccontextmanager
async def envoy(config: str, folder: Path, admin: int) -> AsyncIterator[str]:
    """Run Envoy, in a thread of its own as it blocks; the value is its admin's address."""
    running = running_on(config, folder, admin)
    started = await asyncio.to_thread(running.__enter__)
    try:
        yield started
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def backend(says: str) -> AsyncIterator[int]:
    """An HTTP server that always says the same; the value is its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(says)}\r\n\r\n{says}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def get(port: int, reader_writer: "tuple[asyncio.StreamReader, asyncio.StreamWriter] | None" = None) -> str:
    """Status and body of `GET /`, over a new connection or an open one; "" where there is no connection."""
    try:
        reader, writer = reader_writer or await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return ""
    writer.write(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    body = await reader.readexactly(int(length.split(b":")[1]))
    if reader_writer is None:
        writer.close()
    return f"{head.split()[1].decode()} {body.decode()}".strip()
