"""What a real Envoy tells of requests, as its policy makes it, and what the server bears."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from protos import als_pb2 as pb
from protos import als_pb2_grpc as pb_grpc
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.server import Running, serve
from tests.contract.xds_compiler.federation import free_port
from tests.contract.xds_compiler.services import allowed, denied
from tests.contract.xds_compiler.services import serve as serve_services
from tests.contract.xds_compiler.static_envoy import running_on, static_bootstrap
from tests.contract.xds_compiler.traffic_policy import policy
from tests.contract.xds_compiler.traffic_services import Road
from xds.compiler import compile_


class Kept:
    """The port `Collector`."""

    def __init__(self) -> None:
        self.records: list[AccessRecord] = []
        self.unread = 0

    def take(self, records: Iterable[AccessRecord]) -> None:
        self.records += records

    def unreadable(self) -> None:
        self.unread += 1

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def collecting(listen: str = "127.0.0.1:0") -> AsyncIterator[tuple[Kept, Running]]:
    kept = Kept()
    server = await serve(kept, listen)
    try:
        yield kept, server
    finally:
        await server.stop(0.5)


@contextmanager
def road_of(folder: Path, telemetry: str, tracing: Mapping[str, object] | None = None) -> Iterator[Road]:
    """An Envoy that tells `telemetry`, and what stands around it."""
    admin = free_port()
    road = Road(free_port(), f"http://127.0.0.1:{admin}")
    server, port = serve_services(road.authz, road.ratelimit)
    written = policy(road, f"127.0.0.1:{port}", free_port())
    written["services"]["telemetry"] = {"endpoint": telemetry} | ({} if tracing is None else {"tracing": dict(tracing)})
    snapshot = compile_(load_gateway(Gateway, Source("road.yaml", yaml.safe_dump(written))), {})
    bootstrap = static_bootstrap(snapshot, admin_port=admin) | {"node": {"id": "road-1", "cluster": "road"}}
    try:
        with running_on(json.dumps(bootstrap), folder, admin):
            yield road
    finally:
        server.stop(0).wait()
        road.stop()


async def test_every_request_is_told_with_its_caller_its_result_and_its_time(tmp_path: Path) -> None:
    async with collecting() as (kept, server):
        with road_of(tmp_path, f"127.0.0.1:{server.port}") as road:
            road.authz.decide = lambda request: (
                denied(403, "{}")
                if "denied" in request.attributes.request.http.path
                else allowed(caller="partner:acme", tenant="acme", tier="free", outcome="allowed")
            )
            sent = [
                ("POST", "/plain?sleep=100&secret=s", b"12345"),
                ("GET", "/plain/denied", None),
                ("GET", "/mirror/lost", None),
                ("GET", "/maintenance", None),
                ("GET", "/regex/a/b/c", None),
                ("GET", "/prefix/one", None),
                ("GET", "/redirect/one", None),
            ]
            statuses = [(await asyncio.to_thread(road.call, method, path, body=body))[0] for method, path, body in sent]
            await kept.until(lambda: len(kept.records) >= len(sent))
    assert [one.status for one in kept.records] == statuses == [200, 403, 200, 503, 200, 200, 303]
    first, refused, _, maintenance, rewritten, *_ = kept.records
    assert (first.gateway, first.node, first.method, first.path) == ("road", "road-1", "POST", "/plain")
    assert (first.route, first.upstream, first.details, first.address) == ("plain", "blue", "via_upstream", "127.0.0.1")
    assert (first.caller, first.tenant, first.tier, first.outcome) == ("partner:acme", "acme", "free", "allowed")
    assert first.duration is not None
    assert first.upstream_duration is not None
    assert 100 <= first.upstream_duration <= first.duration < 5000
    assert first.octets_in >= 5
    assert first.request_id
    assert (refused.route, refused.flags, refused.details) == ("plain", "UAEX", "ext_authz_denied")
    assert refused.upstream_duration is None
    # As the service was asked; the route says which way it came.
    assert (rewritten.route, rewritten.path) == ("regex", "/v2/b/a/c")
    assert maintenance.route == "maintenance"
    assert "secret" not in repr(kept.records)


async def test_a_server_that_is_away_holds_up_nobody_and_is_told_again_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with road_of(tmp_path, f"127.0.0.1:{port}") as road:
        assert (await asyncio.to_thread(road.call, "GET", "/plain"))[0] == 200
        async with collecting(f"127.0.0.1:{port}") as (kept, _):
            async with asyncio.timeout(20):
                while not kept.records:
                    assert (await asyncio.to_thread(road.call, "GET", "/plain"))[0] == 200
                    await asyncio.sleep(0.2)
        assert (await asyncio.to_thread(road.call, "GET", "/plain"))[0] == 200


def _stub(channel: grpc.aio.Channel) -> pb_grpc.AccessLogServiceStub:
    return pb_grpc.AccessLogServiceStub(channel)  # type: ignore[no-untyped-call]


def _named() -> pb.StreamAccessLogsMessage:
    message = pb.StreamAccessLogsMessage()
    message.identifier.node.cluster, message.identifier.node.id = "road", "road-9"
    message.http_logs.log_entry.add().request.path = "/x"
    return message


async def test_who_does_not_say_who_it_is_is_not_heard() -> None:
    async with collecting() as (kept, server), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        message = _named()
        message.ClearField("identifier")
        call = _stub(channel).StreamAccessLogs(iter([message]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert kept.records == []


@pytest.mark.parametrize("octets", [b"\xff\xff\xff", b"\x0a\x05abc"])
async def test_what_is_no_message_ends_its_stream_and_no_other(octets: bytes) -> None:
    async with collecting() as (kept, server), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        other = _stub(channel).StreamAccessLogs()
        await other.write(_named())
        await kept.until(lambda: len(kept.records) == 1)
        raw = channel.stream_unary("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await raw(iter([_named().SerializeToString(), octets]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert kept.unread == 1
        await other.write(_named())
        await kept.until(lambda: len(kept.records) == 3)


async def test_it_stops_with_streams_open() -> None:
    async with collecting() as (kept, server), grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = _stub(channel).StreamAccessLogs()
        await call.write(_named())
        await kept.until(lambda: len(kept.records) == 1)
        async with asyncio.timeout(5):
            await server.stop(1.0)
            await call


async def test_without_tls_it_serves_this_machine_alone() -> None:
    with pytest.raises(ValueError, match="needs TLS"):
        await serve(Kept(), "0.0.0.0:0")
