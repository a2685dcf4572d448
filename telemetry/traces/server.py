"""The gRPC shell of traces: `opentelemetry.proto.collector.trace.v1.TraceService` (OTLP/gRPC)."""

from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from telemetry.traces import wire
from telemetry.traces.span import Span

_LOG = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]


class Spans(Protocol):
    """Where spans go. It never waits: what it has no room for it counts, and drops."""

    def take(self, spans: Sequence[Span]) -> int:
        """How many of them it had no room for."""

    def unreadable(self, count: int) -> None:
        """So many came that are none."""


def handler(spans: Spans) -> "grpc.GenericRpcHandler[bytes, bytes]":
    """For a grpc.aio server."""

    async def export(raw: bytes, context: _Context) -> bytes:
        try:
            read, unreadable = wire.read_export(raw)
        except DecodeError:
            spans.unreadable(1)
            _LOG.warning("spans_unreadable")
            return await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not an ExportTraceServiceRequest")
        if unreadable:
            spans.unreadable(unreadable)
        return wire.answer(spans.take(read) + unreadable)

    # Read by hand: one message that is none is a refusal with a reason, and is counted.
    method = grpc.unary_unary_rpc_method_handler(export)
    return grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: method})
