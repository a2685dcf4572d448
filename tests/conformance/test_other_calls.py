"""Load reports and questions for the client status have places and times of their own, and take none from discovery."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

import xds.client_status.server
import xds.load_reports.server
from protos import csds_pb2, csds_pb2_grpc, discovery_pb2, lrs_pb2, lrs_pb2_grpc
from tests.conformance.http2 import Rude
from tests.conformance.talks import until
from xds.admission import ServerLimits
from xds.client_status.wire import MAX_QUESTION_BYTES
from xds.client_status.wire import SERVICE as CLIENT_STATUS
from xds.load_reports.reports import LoadReports, Traffic
from xds.load_reports.wire import SERVICE as LOAD_REPORTS
from xds.metrics import XdsMetrics
from xds.publisher import Publisher

EXHAUSTED, EXPIRED = grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED
REPORTS = f"/{LOAD_REPORTS}/StreamLoadStats"
# Small, and short enough to be waited for.
LIMITS = ServerLimits(
    max_connections=6,
    max_silent_streams=3,
    first_request_seconds=0.3,
    max_load_streams_per_node=2,
    load_silence_seconds=1.0,
    write_seconds=0.2,
    max_status_calls=2,
    status_silence_seconds=0.3,
)


@dataclass
class Others:
    """The two services, without discovery beside them."""

    port: int
    channel: grpc.aio.Channel
    registry: CollectorRegistry
    reports: LoadReports

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"apibank_xds_other_{name}", labels) or 0.0

    async def reporting(self, node_id: str, **load: int) -> Any:
        """A stream of this node; the control plane has answered it or ended it."""
        call = lrs_pb2_grpc.LoadReportingServiceStub(self.channel).StreamLoadStats()
        # One that is refused may have ended before its first report is written: the call says why.
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(report(node_id, **load))
        return call

    def ask(self) -> Any:
        return csds_pb2_grpc.ClientStatusDiscoveryServiceStub(self.channel).StreamClientStatus()

    async def fetch(self, **fields: Any) -> csds_pb2.ClientStatusResponse:
        stub = csds_pb2_grpc.ClientStatusDiscoveryServiceStub(self.channel)
        return await stub.FetchClientStatus(csds_pb2.ClientStatusRequest(**fields), timeout=5)


@pytest.fixture
async def others(request: pytest.FixtureRequest) -> AsyncIterator[Others]:
    """The parameter is how often proxies report while nobody watches."""
    idle = getattr(request, "param", 0.1)
    publisher, registry, reports = Publisher(), CollectorRegistry(), LoadReports(idle)
    metrics = XdsMetrics(registry)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    xds.client_status.server.register(server, publisher, "", LIMITS, metrics)
    xds.load_reports.server.register(server, reports, lambda node, context: "", LIMITS, metrics)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Others(port, channel, registry, reports)
    await server.stop(0)


def report(node_id: str, successes: int = 0) -> lrs_pb2.LoadStatsRequest:
    request = lrs_pb2.LoadStatsRequest(node=discovery_pb2.Node(id=node_id, cluster="edge"))
    request.cluster_stats.add(cluster_name="a").upstream_locality_stats.add(total_successful_requests=successes)
    return request


async def code_of(call: Any) -> grpc.StatusCode:
    async with asyncio.timeout(5):
        try:
            while await call.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode(await call.code())


async def keep_reporting(call: Any, enough: asyncio.Event) -> None:
    # A task that is cancelled while it writes takes the call along.
    while not enough.is_set():
        await call.write(report("good", 1))
        await asyncio.sleep(0.05)


@pytest.fixture
async def good(others: Others) -> AsyncIterator[Any]:
    """A proxy that goes on reporting, whatever the others do."""
    call = await others.reporting("good")
    await call.read()
    enough = asyncio.Event()
    reporting = asyncio.create_task(keep_reporting(call, enough))
    yield call
    enough.set()
    await reporting
    before = others.reports.totals("edge")["good"].requests
    await call.write(report("good", 100))
    await until(lambda: others.reports.totals("edge")["good"].requests >= before + 100)
    call.cancel()
    await until(lambda: others.counted("calls", service="load_reports") == 0)


async def test_a_proxy_that_reports_nothing_any_more_loses_its_stream(others: Others, good: Any) -> None:
    silent = await others.reporting("silent", successes=3)
    await silent.read()
    assert others.reports.connected("edge") == {"good", "silent"}
    assert await code_of(silent) is EXPIRED
    assert others.counted("timeouts_total", service="load_reports") == 1
    assert others.reports.connected("edge") == {"good"}
    # What it said counts.
    assert others.reports.totals("edge")["silent"] == Traffic(3, 0)


@pytest.mark.parametrize("others", [60.0], indirect=True)
async def test_where_reports_are_rare_three_may_be_left_out(others: Others) -> None:
    with others.reports.watch("edge", 0.1):
        call = await others.reporting("rare")
        await call.read()
    assert (await call.read()).load_reporting_interval.ToSeconds() == 60
    await asyncio.sleep(2 * LIMITS.load_silence_seconds)
    assert others.reports.connected("edge") == {"rare"}
    # Told to report more often, it has the time of that from then on.
    with others.reports.watch("edge", 0.1):
        await call.read()
        assert others.reports.connected("edge") == {"rare"}
        assert await code_of(call) is EXPIRED


async def test_streams_that_never_say_whose_load_they_report_are_few_and_end(others: Others, good: Any) -> None:
    rude = await Rude.connect(others.port)
    for number in range(5):
        rude.open(2 * number + 1, REPORTS)
    await rude.until(lambda: len(rude.ended) == 2)
    assert others.counted("refusals_total", service="load_reports", reason="silent_streams") == 2
    await rude.until(lambda: len(rude.ended) == 5)
    assert others.counted("timeouts_total", service="load_reports") == 3
    await rude.close()


async def test_one_proxy_has_few_streams_of_reports_and_all_have_so_many(others: Others, good: Any) -> None:
    same = [await others.reporting("same") for _ in range(2)]
    for call in same:
        await call.read()
    assert await code_of(await others.reporting("same")) is EXHAUSTED
    assert others.counted("refusals_total", service="load_reports", reason="node_streams") == 1
    rest = [await others.reporting(f"edge-{number}") for number in range(3)]
    for call in rest:
        await call.read()
    assert await code_of(await others.reporting("one too many")) is EXHAUSTED
    assert others.counted("refusals_total", service="load_reports", reason="streams") == 1
    for call in (*same, *rest):
        call.cancel()


async def test_a_proxy_that_takes_nothing_is_none_that_reports(others: Others, good: Any) -> None:
    rude = await Rude.connect(others.port, window=0)
    rude.open(1, REPORTS)
    rude.send(1, report("stuck"))
    await until(lambda: "stuck" in others.reports.connected("edge"))
    await until(lambda: "stuck" not in others.reports.connected("edge"))
    rude.send(1, report("stuck", 5))
    rude.open_window(1)
    await rude.until(lambda: 1 in rude.ended)
    assert others.counted("timeouts_total", service="load_reports") == 1
    assert others.reports.totals("edge")["stuck"] == Traffic()
    await rude.close()


async def test_few_ask_for_the_client_status_at_once_and_who_is_done_makes_room(others: Others, good: Any) -> None:
    asking = [others.ask() for _ in range(2)]
    for call in asking:
        await call.write(csds_pb2.ClientStatusRequest())
        assert await call.read() == csds_pb2.ClientStatusResponse()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await others.fetch()
    assert raised.value.code() is EXHAUSTED
    assert others.counted("refusals_total", service="client_status", reason="calls") == 1
    for call in asking:
        await call.done_writing()
        assert await code_of(call) is grpc.StatusCode.OK
    await until(lambda: others.counted("calls", service="client_status") == 0)
    assert await others.fetch() == csds_pb2.ClientStatusResponse()


async def test_who_asks_nothing_for_too_long_loses_the_stream(others: Others, good: Any) -> None:
    call = others.ask()
    await call.write(csds_pb2.ClientStatusRequest())
    await call.read()
    assert await code_of(call) is EXPIRED
    assert others.counted("timeouts_total", service="client_status") == 1


async def test_an_answer_that_nobody_takes_keeps_its_place_and_no_other_one(others: Others, good: Any) -> None:
    rude = await Rude.connect(others.port, window=0)
    for number, method in enumerate(("FetchClientStatus", "StreamClientStatus")):
        rude.open(2 * number + 1, f"/{CLIENT_STATUS}/{method}")
        rude.send(2 * number + 1, csds_pb2.ClientStatusRequest(), last=True)
    await until(lambda: others.counted("calls", service="client_status") == 2)
    await until(lambda: others.counted("timeouts_total", service="client_status") == 1)
    with pytest.raises(grpc.aio.AioRpcError):
        await others.fetch()
    await rude.close()
    await until(lambda: others.counted("calls", service="client_status") == 0)
    await others.fetch()


async def test_a_question_that_is_too_long_is_refused(others: Others, good: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await others.fetch(node_matchers=[{"node_id": {"exact": "x" * MAX_QUESTION_BYTES}}])
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "64 KiB" in (raised.value.details() or "")
