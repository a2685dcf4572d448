"""What is read of OpenTelemetry's spans, and what is not."""

import pytest
from google.protobuf.message import DecodeError

from protos import otlp_pb2 as pb
from telemetry.traces.wire import answer, read_export

TRACE, SPAN, PARENT = bytes(range(16)), bytes(range(8)), bytes(range(8, 16))


def export(**changes: object) -> pb.ExportTraceServiceRequest:
    message = pb.ExportTraceServiceRequest()
    of_resource = message.resource_spans.add()
    of_resource.resource.attributes.add(key=b"service.name").value.string_value = b"apibank-marketing"
    given: dict[str, object] = {
        "trace_id": TRACE, "span_id": SPAN, "parent_span_id": PARENT, "name": b"GET content",
        "kind": pb.Span.SPAN_KIND_SERVER, "start_time_unix_nano": 10**9, "end_time_unix_nano": 10**9 + 2_500_000,
        **changes,
    }  # fmt: skip
    of_resource.scope_spans.add().spans.append(pb.Span(**given))  # type: ignore[arg-type]
    return message


def told(message: pb.ExportTraceServiceRequest, **attributes: str | int | bool) -> pb.ExportTraceServiceRequest:
    for key, value in attributes.items():
        one = message.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=key.replace("__", ".").encode())
        if isinstance(value, bool):
            one.value.bool_value = value
        elif isinstance(value, int):
            one.value.int_value = value
        else:
            one.value.string_value = value.encode()
    return message


def test_a_span_has_its_place_in_the_trace_its_time_and_who_tells_of_it() -> None:
    (span,), unreadable = read_export(export().SerializeToString())
    assert not unreadable
    assert (span.trace_id, span.span_id, span.parent_id) == (TRACE.hex(), SPAN.hex(), PARENT.hex())
    assert (span.service, span.name, span.kind) == ("apibank-marketing", "GET content", "server")
    assert (span.start, span.duration, span.failed, span.edge) == (1.0, 2.5, False, False)


def test_of_its_attributes_those_are_kept_that_tell_nothing_of_people() -> None:
    message = told(
        export(), http__status_code="503", apibank__edge="true", apibank__tier="free", user_agent="ann's", error="true",
        peer__address="203.0.113.9", http__url="https://host/?token=secret", grpc__path="/x?token=secret",
    )  # fmt: skip
    message.resource_spans[0].scope_spans[0].spans[0].attributes.add(
        key=b"guid:x-request-id"
    ).value.string_value = b"r-1"
    (span,), _ = read_export(message.SerializeToString())
    assert (span.status, span.edge, span.failed, span.request_id) == (503, True, True, "r-1")
    assert span.attributes == {"apibank.tier": "free", "error": "true", "http.status_code": "503"}


@pytest.mark.parametrize(("kind", "value", "text"), [("i", 7, "7"), ("b", True, "true"), ("s", "x", "x")])
def test_values_of_every_plain_kind_are_text(kind: str, value: str | int | bool, text: str) -> None:
    (span,), _ = read_export(told(export(), request_size=value).SerializeToString())
    assert span.attributes == {"request_size": text}


@pytest.mark.parametrize("wrong", [{"trace_id": b"short"}, {"span_id": b""}, {"parent_span_id": b"123"}])
def test_a_span_without_its_ids_is_none_and_costs_no_other(wrong: dict[str, bytes]) -> None:
    message = export(**wrong)
    message.resource_spans.append(export().resource_spans[0])
    spans, unreadable = read_export(message.SerializeToString())
    assert ([span.span_id for span in spans], unreadable) == ([SPAN.hex()], 1)


def test_a_parent_of_zeros_is_none_and_a_span_that_ends_before_it_began_took_no_time() -> None:
    (span,), _ = read_export(export(parent_span_id=bytes(8), end_time_unix_nano=1).SerializeToString())
    assert (span.parent_id, span.duration) == ("", 0.0)


def test_what_is_too_long_or_no_text_for_a_database_is_cut() -> None:
    message = told(export(name=b"a\0" * 500), url__path="/\0" + "x" * 9_999, http__status_code="2000000000000")
    (span,), _ = read_export(message.SerializeToString())
    assert (span.name, span.status) == ("a" * 128, 0)
    assert span.attributes["url.path"] == "/" + "x" * 2047


def test_what_is_no_export_is_an_error() -> None:
    with pytest.raises(DecodeError):
        read_export(b"\xff\xff")


def test_the_answer_says_how_many_were_not_taken() -> None:
    assert answer(0) == b""
    assert pb.ExportTraceServiceResponse.FromString(answer(3)).partial_success.rejected_spans == 3


@pytest.mark.attack("A58")
def test_a_header_that_is_no_utf_8_costs_no_span() -> None:
    message = export(name=b"GET \xff")
    span = message.resource_spans[0].scope_spans[0].spans[0]
    span.attributes.add(key=b"user_agent").value.string_value = b"\xc3\x28"
    span.attributes.add(key=b"url.path").value.string_value = b"/\xff"
    (read,), unreadable = read_export(message.SerializeToString())
    assert (read.name, read.attributes, unreadable) == ("GET \ufffd", {"url.path": "/\ufffd"}, 0)
