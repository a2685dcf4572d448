"""What a real Envoy tells of traced requests, as its policy makes it, and whose traces it goes on with."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from protos import otlp_pb2 as pb
from protos import otlp_pb2_grpc as pb_grpc
from telemetry.access_log.server import serve
from telemetry.traces import wire
from telemetry.traces.server import handler
from telemetry.traces.span import Span
from telemetry.traces.wire import read_export
from tests.contract.telemetry.test_access_log import Kept, road_of
from tests.contract.xds_compiler.services import allowed, denied
from tests.contract.xds_compiler.traffic_services import Road

THEIR_TRACE, THEIR_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
THEIRS = {"traceparent": f"00-{THEIR_TRACE}-{THEIR_SPAN}-01", "tracestate": "them=1"}


class KeptSpans:
    """The port `Spans`."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.unread = 0

    def take(self, spans: Sequence[Span]) -> int:
        self.spans += spans
        return 0

    def unreadable(self, count: int) -> None:
        self.unread += count

    async def until(self, true: Callable[[Sequence[Span]], bool]) -> None:
        """Envoy tells every five seconds."""
        async with asyncio.timeout(30):
            while not true(self.spans):
                await asyncio.sleep(0.05)


@asynccontextmanager
async def traced(folder: Path, tracing: Mapping[str, object]) -> AsyncIterator[tuple[KeptSpans, Road]]:
    kept = KeptSpans()
    server = await serve(Kept(), "127.0.0.1:0", beside=[handler(kept)])
    try:
        with road_of(folder, f"127.0.0.1:{server.port}", tracing) as road:
            yield kept, road
    finally:
        await server.stop(0.5)


async def ask(road: Road, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, str]]:
    status, answered, _ = await asyncio.to_thread(road.call, "GET", path, headers=dict(headers or {}))
    return status, answered


def servers(spans: Sequence[Span]) -> list[Span]:
    return [span for span in spans if span.kind == "server"]


def upstream_saw(road: Road) -> str:
    """The traceparent of the last request that came to a service."""
    return str(road.backends["blue"].seen[-1]["headers"].get("traceparent", ""))


@pytest.mark.requirement("R80")
async def test_a_request_has_a_span_and_below_it_one_for_each_call_that_was_made_for_it(tmp_path: Path) -> None:
    async with traced(tmp_path, {"sample_percent": 100}) as (kept, road):
        road.authz.decide = lambda _: allowed(caller="partner:acme", tier="free", outcome="allowed")
        status, answered = await ask(road, "/plain?secret=s", THEIRS | {"x-request-id": "theirs"})
        assert status == 200
        await kept.until(lambda spans: len(spans) >= 3)
        saw = upstream_saw(road)
    (root,) = servers(kept.spans)
    assert (root.name, root.service, root.status, root.edge) == ("GET plain", "apibank-road", 200, True)
    # Where clients reach us their traces end, and ours begin.
    assert root.parent_id == ""
    assert root.trace_id != THEIR_TRACE
    assert root.request_id == answered["x-request-id"]
    assert uuid.UUID(root.request_id).version == 4
    told = {name: root.attributes[name] for name in root.attributes if name.startswith(("apibank.", "url."))}
    assert told == {
        "apibank.gateway": "road", "apibank.listener": "road", "apibank.route": "plain", "apibank.tier": "free",
        "apibank.outcome": "allowed", "apibank.response_code_details": "via_upstream", "url.path": "/plain",
    }  # fmt: skip
    below = {span.name: span for span in kept.spans if span is not root}
    assert below.keys() == {
        "async envoy.service.auth.v3.Authorization.Check egress",
        "router blue egress",
    }
    for span in below.values():
        assert (span.trace_id, span.parent_id, span.kind, span.edge) == (root.trace_id, root.span_id, "client", False)
        assert root.start <= span.start
        assert span.start + span.duration / 1e3 <= root.start + root.duration / 1e3 + 0.001
    # The service goes on with the trace, below the call that led to it (W3C Trace Context §3.2.2).
    assert saw == f"00-{root.trace_id}-{below['router blue egress'].span_id}-01"
    assert "secret" not in repr(kept.spans)


@pytest.mark.requirement("R80")
async def test_a_refused_request_says_who_refused_it_and_one_that_failed_has_failed(tmp_path: Path) -> None:
    async with traced(tmp_path, {"sample_percent": 100}) as (kept, road):
        road.authz.decide = lambda request: (
            denied(403, "{}") if "refused" in request.attributes.request.http.path else allowed(outcome="allowed")
        )
        for path, status in (("/plain/refused", 403), ("/prefix/one?fail=9&id=f", 503)):
            assert (await ask(road, path))[0] == status
        await kept.until(lambda spans: len(servers(spans)) >= 2)
    refused, failed = sorted(servers(kept.spans), key=lambda span: span.status)
    assert (refused.status, refused.attributes["apibank.response_code_details"]) == (403, "ext_authz_denied")
    assert (refused.attributes["response_flags"], refused.failed) == ("UAEX", False)
    assert not [span for span in kept.spans if span.trace_id == refused.trace_id and span.name.startswith("router")]
    assert (failed.status, failed.failed) == (503, True)


@pytest.mark.attack("A58")
async def test_no_query_is_told_of_calls_either_nor_do_odd_headers_cost_a_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy has a tag of its own for what says that it is gRPC, and tells of headers as they came."""
    told: list[bytes] = []

    def read(raw: bytes) -> tuple[list[Span], int]:
        told.append(raw)
        return read_export(raw)

    monkeypatch.setattr(wire, "read_export", read)
    async with traced(tmp_path, {"sample_percent": 100}) as (kept, road):
        headers = {"content-type": "application/grpc", "te": "trailers", "user-agent": "caf\xe9"}
        await ask(road, "/plain?secret=s", headers)
        await kept.until(lambda spans: bool(servers(spans)))
    assert kept.unread == 0
    assert b"secret" not in b"".join(told)
    assert b"grpc.path" in b"".join(told)
    assert b"caf\xe9" in b"".join(told)
    assert all("?" not in value for span in kept.spans for value in span.attributes.values())


@pytest.mark.attack("A58")
async def test_no_client_can_have_its_requests_traced(tmp_path: Path) -> None:
    async with traced(tmp_path, {"sample_percent": 0}) as (kept, road):
        forced = THEIRS | {"x-client-trace-id": "theirs", "x-envoy-force-trace": "1", "x-b3-sampled": "1"}
        for _ in range(20):
            assert (await ask(road, "/plain", forced))[0] == 200
        saw = upstream_saw(road)
        assert THEIR_TRACE not in saw
        assert saw.endswith("-00")
        # So long that it would have been told.
        await asyncio.sleep(6)
    assert kept.spans == []


async def test_where_the_policy_says_so_a_clients_trace_goes_on(tmp_path: Path) -> None:
    tracing = {"sample_percent": 0, "continue_from_clients": True}
    async with traced(tmp_path, tracing) as (kept, road):
        assert (await ask(road, "/plain", THEIRS))[0] == 200
        assert (await ask(road, "/plain"))[0] == 200
        await kept.until(lambda spans: len(spans) >= 3)
    (root,) = servers(kept.spans)
    assert (root.trace_id, root.parent_id) == (THEIR_TRACE, THEIR_SPAN)


async def test_about_so_many_are_traced_as_the_policy_says(tmp_path: Path) -> None:
    async with traced(tmp_path, {"sample_percent": 50}) as (kept, road):
        for _ in range(100):
            assert (await ask(road, "/plain"))[0] == 200
        await kept.until(lambda spans: len(servers(spans)) > 20)
        await asyncio.sleep(6)
    # Farther from the middle by chance once in some 10^8 runs.
    assert 20 < len(servers(kept.spans)) < 80


async def test_what_is_no_span_is_refused_and_counted_and_ends_nothing() -> None:
    kept = KeptSpans()
    server = await serve(Kept(), "127.0.0.1:0", beside=[handler(kept)])
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export", bytes, bytes)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await export(b"\xff\xff")
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            stub = pb_grpc.TraceServiceStub(channel)  # type: ignore[no-untyped-call]
            message = pb.ExportTraceServiceRequest()
            spans = message.resource_spans.add().scope_spans.add().spans
            spans.add(trace_id=b"short")
            spans.add(trace_id=bytes(range(16)), span_id=bytes(range(8)))
            answered = await stub.Export(message)
            assert answered.partial_success.rejected_spans == 1
    finally:
        await server.stop(0.5)
    assert (len(kept.spans), kept.unread) == (1, 2)
