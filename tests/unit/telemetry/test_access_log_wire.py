"""What Envoy's access log entries become."""

import pytest
from google.protobuf.message import DecodeError

from protos import als_pb2 as pb
from telemetry.access_log.wire import Reporter, read_message

KNOWN = Reporter("marketing", "marketing-1")


def message(*, named: bool = True) -> pb.StreamAccessLogsMessage:
    written = pb.StreamAccessLogsMessage()
    if named:
        written.identifier.node.cluster, written.identifier.node.id = "marketing", "marketing-1"
    entry = written.http_logs.log_entry.add()
    common, request, response = entry.common_properties, entry.request, entry.response
    common.start_time.FromNanoseconds(1_700_000_000_250_000_000)
    common.time_to_first_upstream_tx_byte.FromMicroseconds(2_000)
    common.time_to_last_upstream_rx_byte.FromMicroseconds(9_500)
    common.time_to_last_downstream_tx_byte.FromMicroseconds(10_000)
    common.duration.FromMicroseconds(11_000)
    common.route_name, common.upstream_cluster = "content", "marketing-agents"
    common.upstream_request_attempt_count = 2
    common.downstream_remote_address.socket_address.address = "10.1.2.3"
    fields = common.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields
    for name in ("caller", "subject", "tenant", "tier", "role", "outcome", "credential"):
        fields[name].string_value = f"the-{name}"
    request.request_method, request.request_id = pb.HTTPRequestProperties.POST, "r-1"
    request.path = "/api/marketing/content?api_key=mkt_sk_secret#x"
    request.user_agent = "curl/8"
    request.request_headers_bytes, request.request_body_bytes = 300, 50
    response.response_code.value, response.response_code_details = 200, "via_upstream"
    response.response_headers_bytes, response.response_body_bytes = 100, 40
    return written


def test_an_entry_is_read_whole() -> None:
    reporter, records = read_message(message().SerializeToString(), None)
    assert reporter == KNOWN
    (record,) = records
    assert (record.at, record.gateway, record.node) == (1_700_000_000.25, "marketing", "marketing-1")
    assert (record.request_id, record.method, record.path) == ("r-1", "POST", "/api/marketing/content")
    assert (record.route, record.upstream, record.status) == ("content", "marketing-agents", 200)
    assert (record.details, record.flags, record.attempts) == ("via_upstream", "", 2)
    assert (record.duration, record.upstream_duration) == (10.0, 7.5)
    assert (record.octets_in, record.octets_out, record.address, record.user_agent) == (350, 140, "10.1.2.3", "curl/8")
    assert (record.caller, record.subject, record.tenant) == ("the-caller", "the-subject", "the-tenant")
    assert (record.tier, record.role, record.outcome) == ("the-tier", "the-role", "the-outcome")
    assert record.credential == "the-credential"


def test_only_the_first_message_of_a_stream_says_who_reports() -> None:
    raw = message(named=False).SerializeToString()
    reporter, records = read_message(raw, None)
    assert reporter is None
    assert list(records) == []
    reporter, records = read_message(raw, KNOWN)
    assert reporter == KNOWN
    assert [one.node for one in records] == ["marketing-1"]


def test_a_stream_that_is_still_open_is_not_counted_yet() -> None:
    written = message()
    written.http_logs.log_entry[0].common_properties.intermediate_log_entry = True
    assert list(read_message(written.SerializeToString(), None)[1]) == []


def test_what_nothing_came_of_has_no_figures() -> None:
    written = pb.StreamAccessLogsMessage()
    written.http_logs.log_entry.add()
    (record,) = read_message(written.SerializeToString(), KNOWN)[1]
    assert (record.status, record.duration, record.upstream_duration, record.method) == (0, None, None, "")


def test_flags_have_envoys_names() -> None:
    written = message()
    flags = written.http_logs.log_entry[0].common_properties.response_flags
    flags.upstream_connection_failure = flags.upstream_retry_limit_exceeded = True
    flags.unauthorized_details.reason = pb.ResponseFlags.Unauthorized.EXTERNAL_SERVICE
    (record,) = read_message(written.SerializeToString(), KNOWN)[1]
    assert record.flags == "UF,UAEX,URX"


def test_every_flag_that_can_be_told_has_a_name() -> None:
    written = message()
    flags = written.http_logs.log_entry[0].common_properties.response_flags
    for field in flags.DESCRIPTOR.fields:
        if field.message_type is None:
            setattr(flags, field.name, True)
    (record,) = read_message(written.SerializeToString(), KNOWN)[1]
    assert len(record.flags.split(",")) == len(flags.DESCRIPTOR.fields) - 1


def test_texts_have_a_bound() -> None:
    written = message()
    entry = written.http_logs.log_entry[0]
    entry.request.path = "/" + "x" * 100_000
    entry.request.user_agent = entry.request.request_id = "y" * 100_000
    fields = entry.common_properties.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields
    fields["caller"].string_value = "z" * 100_000
    (record,) = read_message(written.SerializeToString(), None)[1]
    assert max(map(len, (record.path, record.user_agent, record.request_id, record.caller))) <= 2048


@pytest.mark.parametrize("number", [10, 99, 2**31 - 1])
def test_a_method_that_has_no_name_yet_is_another(number: int) -> None:
    written = message()
    written.http_logs.log_entry[0].request.request_method = number  # type: ignore[assignment]
    (record,) = read_message(written.SerializeToString(), None)[1]
    assert record.method == "OTHER"


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(DecodeError):
        read_message(b"\xff\xff\xff", None)


@pytest.mark.attack("A58")
def test_no_text_and_no_figure_is_more_than_a_database_holds() -> None:
    written = message()
    entry = written.http_logs.log_entry[0]
    common, request, response = entry.common_properties, entry.request, entry.response
    common.start_time.seconds, common.start_time.nanos = 9 * 10**18, 0
    common.duration.seconds = common.time_to_last_downstream_tx_byte.seconds = 3 * 10**11
    common.upstream_request_attempt_count = response.response_code.value = 2**32 - 1
    request.request_body_bytes = response.response_body_bytes = 2**64 - 301
    request.path, request.user_agent = "/a\0b", "\0"
    for name in ("caller", "tier", "outcome", "credential"):
        common.metadata.filter_metadata["envoy.filters.http.ext_authz"].fields[name].string_value = "a\0" * 500
    _, records = read_message(written.SerializeToString(), None)
    (record,) = records
    assert (record.path, record.user_agent, record.caller) == ("/ab", "", "a" * 128)
    assert (record.tier, record.outcome, record.credential) == ("a" * 32, "a" * 32, "a" * 64)
    assert (record.at, record.status, record.attempts) == (2.0**33, 999, 2**16)
    assert (record.octets_in, record.octets_out, record.duration) == (2**50, 2**50, 86_400_000 * 365)


def test_a_moment_before_time_began_is_its_beginning() -> None:
    written = message()
    written.http_logs.log_entry[0].common_properties.start_time.seconds = -5
    _, records = read_message(written.SerializeToString(), None)
    assert [record.at for record in records] == [0.0]
