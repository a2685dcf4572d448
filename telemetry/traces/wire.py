"""OpenTelemetry's ExportTraceServiceRequest to spans."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from protos import otlp_pb2 as pb
from telemetry.traces.span import Span

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["TraceService"]
SERVICE: Final = _SERVICE.full_name
METHOD: Final = _SERVICE.methods[0].name

_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_TRACE_OCTETS, _SPAN_OCTETS = 16, 8
_MOST_NAME: Final = 128
# More than is kept: whoever takes credentials out must see that one goes on (collector).
_MOST_VALUE: Final = 2048

_EDGE: Final = "apibank.edge"
_STATUS: Final = "http.status_code"
_REQUEST_ID: Final = "guid:x-request-id"
# What is kept; the rest are clients' addresses and user agents, and whatever else somebody may tell of people: the
# grpc.path that Envoy tells has the query.
_KEPT: Final = frozenset(
    (
        "apibank.gateway", "apibank.listener", "apibank.outcome", "apibank.response_code_details", "apibank.route",
        "apibank.tier", "component", "error", "grpc.status_code", "http.method", "http.protocol",
        "http.status_code", "request_size", "response_flags", "response_size", "upstream_address",
        "upstream_cluster.name", "url.path",
    )
)  # fmt: skip


def read_export(raw: bytes) -> tuple[list[Span], int]:
    """The spans, and how many were none, as they lack an id. Raises google.protobuf.message.DecodeError."""
    message = pb.ExportTraceServiceRequest.FromString(raw)
    spans, unreadable = [], 0
    for span in _spans(message):
        if span is None:
            unreadable += 1
        else:
            spans.append(span)
    return spans, unreadable


def answer(rejected: int) -> bytes:
    """All others were taken."""
    if not rejected:
        return b""
    partly = pb.ExportTracePartialSuccess(rejected_spans=rejected, error_message="not every span was taken")
    return pb.ExportTraceServiceResponse(partial_success=partly).SerializeToString()


def _spans(message: pb.ExportTraceServiceRequest) -> Iterator[Span | None]:
    for of_resource in message.resource_spans:
        service = _attributes(of_resource.resource.attributes).get("service.name", "")
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _span(span, service[:_MOST_NAME])


def _span(span: pb.Span, service: str) -> Span | None:
    if len(span.trace_id) != _TRACE_OCTETS or len(span.span_id) != _SPAN_OCTETS:
        return None
    if len(span.parent_span_id) not in (0, _SPAN_OCTETS):
        return None
    told = _attributes(span.attributes)
    status = told.get(_STATUS, "")
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() if any(span.parent_span_id) else "",
        service=service,
        name=_plain(span.name)[:_MOST_NAME],
        kind=_KINDS.get(span.kind, ""),
        start=span.start_time_unix_nano / 1e9,
        duration=max(span.end_time_unix_nano - span.start_time_unix_nano, 0) / 1e6,
        status=int(status) if len(status) == len("200") and status.isascii() and status.isdecimal() else 0,
        failed=span.status.code == pb.Status.STATUS_CODE_ERROR or told.get("error") == "true",
        # Its calls have the tag, too.
        edge=span.kind == pb.Span.SPAN_KIND_SERVER and told.get(_EDGE) == "true",
        request_id=told.get(_REQUEST_ID, "")[:_MOST_NAME],
        attributes={name: value[:_MOST_VALUE] for name, value in sorted(told.items()) if value and name in _KEPT},
    )


def _attributes(given: Iterable[pb.KeyValue]) -> Mapping[str, str]:
    return {_plain(one.key): _text(one.value) for one in given}


def _text(value: pb.AnyValue) -> str:
    match value.WhichOneof("value"):
        case "string_value":
            return _plain(value.string_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return str(value.double_value)
        case _:
            return ""


def _plain(text: bytes) -> str:
    # PostgreSQL has no text with a NUL.
    return text.replace(b"\x00", b"").decode(errors="replace")
