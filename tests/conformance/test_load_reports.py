"""Load reports over real gRPC: who may report, how often, and what ends a stream."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from protos import discovery_pb2
from protos import lrs_pb2 as pb
from protos import lrs_pb2_grpc as pb_grpc
from tests.conformance.authority import Authority
from tests.conformance.clients import NODE
from xds.load_reports.reports import LoadReports, Traffic
from xds.load_reports.server import register
from xds.publisher import Publisher
from xds.server import serve

STRANGER = "edge-9"


def admit(node: Any, _: object) -> str:
    return "no such node" if node.id == STRANGER else ""


@pytest.fixture
def reports() -> LoadReports:
    return LoadReports()


@pytest.fixture
async def server(reports: LoadReports) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    server = grpc.aio.server()
    assert register(server, reports, admit) == "envoy.service.load_stats.v3.LoadReportingService"
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield server, port
    await server.stop(0)


@pytest.fixture
async def channel(server: tuple[grpc.aio.Server, int]) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server[1]}") as channel:
        yield channel


def report(successes: int = 0, errors: int = 0, **fields: Any) -> pb.LoadStatsRequest:
    request = pb.LoadStatsRequest(**fields)
    stats = request.cluster_stats.add(cluster_name="a")
    stats.upstream_locality_stats.add(total_successful_requests=successes, total_error_requests=errors)
    return request


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def interval(call: Any) -> float:
    async with asyncio.timeout(5):
        response = await call.read()
    assert response.send_all_clusters
    return float(response.load_reporting_interval.ToMilliseconds() / 1000)


async def ending(call: Any) -> tuple[grpc.StatusCode, str]:
    async with asyncio.timeout(5):
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() is not grpc.aio.EOF:
                pass
        return await call.code(), await call.details()


async def test_a_proxy_is_asked_at_once_and_what_it_reports_adds_up(
    channel: grpc.aio.Channel, reports: LoadReports
) -> None:
    call = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
    await call.write(pb.LoadStatsRequest(node=NODE))
    assert await interval(call) == 10.0
    await call.write(report(3, 1, node=NODE))
    await call.write(report(2, 0))
    await until(lambda: reports.totals("edge") == {"edge-1": Traffic(6, 1)})
    await call.done_writing()
    assert await ending(call) == (grpc.StatusCode.OK, "")


async def test_proxies_report_more_often_while_somebody_watches_and_no_longer(
    channel: grpc.aio.Channel, reports: LoadReports
) -> None:
    call = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
    await call.write(pb.LoadStatsRequest(node=NODE))
    assert await interval(call) == 10.0
    with reports.watch("edge", 0.5):
        assert await interval(call) == 0.5
    assert await interval(call) == 10.0
    call.cancel()


_REFUSED = grpc.StatusCode.INVALID_ARGUMENT
_RENAMED = pb.LoadStatsRequest(node=discovery_pb2.Node(id="edge-2", cluster="edge"))
_UNKNOWN = pb.LoadStatsRequest(node=discovery_pb2.Node(id=STRANGER, cluster="edge"))


@pytest.mark.parametrize(
    ("requests", "status"),
    [
        ([pb.LoadStatsRequest()], _REFUSED),
        ([report(node=NODE), _RENAMED], _REFUSED),
        ([b"\xff\xff\xff"], _REFUSED),
        ([report(node=NODE), b"\xff\xff\xff"], _REFUSED),
        ([_UNKNOWN], grpc.StatusCode.PERMISSION_DENIED),
    ],
    ids=["no node", "another node", "nonsense at first", "nonsense later", "not admitted"],
)
async def test_a_report_that_breaks_the_protocol_ends_its_stream_and_no_other(
    channel: grpc.aio.Channel, reports: LoadReports, requests: list[Any], status: grpc.StatusCode
) -> None:
    good = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
    await good.write(pb.LoadStatsRequest(node=NODE))
    assert await interval(good) == 10.0
    bad = channel.stream_stream(
        "/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats",
        request_serializer=lambda each: each if isinstance(each, bytes) else each.SerializeToString(),
        response_deserializer=pb.LoadStatsResponse.FromString,
    )()
    for each in requests:
        await bad.write(each)
    code, details = await ending(bad)
    assert (code, bool(details)) == (status, True)
    assert STRANGER not in reports.totals("edge")
    await good.write(report(1))
    await until(lambda: reports.totals("edge")["edge-1"] == Traffic(1, 0))
    good.cancel()


async def test_a_proxy_that_goes_away_leaves_nothing_open(channel: grpc.aio.Channel, reports: LoadReports) -> None:
    call = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
    await call.write(report(1, node=NODE))
    assert await interval(call) == 10.0
    call.cancel()
    await until(lambda: not reports.connected("edge"))
    assert reports.totals("edge") == {"edge-1": Traffic(1, 0)}


async def test_closing_ends_the_streams_cleanly(channel: grpc.aio.Channel, reports: LoadReports) -> None:
    call = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
    await call.write(pb.LoadStatsRequest(node=NODE))
    assert await interval(call) == 10.0
    reports.close()
    assert await ending(call) == (grpc.StatusCode.OK, "")


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        ("spiffe://apibank.test/gateway/edge", grpc.StatusCode.OK),
        ("spiffe://apibank.test/gateway/edge/edge-1", grpc.StatusCode.OK),
        ("spiffe://apibank.test/gateway/edge/edge-2", grpc.StatusCode.PERMISSION_DENIED),
        ("spiffe://apibank.test/operator", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_over_tls_nobody_reports_for_another_node(
    reports: LoadReports, identity: str, expected: grpc.StatusCode
) -> None:
    authority = Authority()
    credentials = grpc.ssl_server_credentials([authority.issue("localhost")], authority.certificate, True)
    running = await serve(
        Publisher(),
        "localhost:0",
        identifier="replica-1",
        credentials=credentials,
        trust_domain="apibank.test",
        load_reports=reports,
    )
    key, chain = authority.issue(identity)
    secured = grpc.ssl_channel_credentials(authority.certificate, key, chain)
    async with grpc.aio.secure_channel(f"localhost:{running.port}", secured) as channel:
        call = pb_grpc.LoadReportingServiceStub(channel).StreamLoadStats()
        await call.write(report(7, node=NODE))
        await call.done_writing()
        code, _ = await ending(call)
    assert code is expected
    assert reports.totals("edge") == ({"edge-1": Traffic(7, 0)} if expected is grpc.StatusCode.OK else {})
    await running.stop(0)
