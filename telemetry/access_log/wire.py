"""Envoy's accesslog.v3 to records."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration

from policy import descriptors
from protos import als_pb2 as pb
from telemetry.access_log.record import AccessRecord

SERVICE: Final = pb.DESCRIPTOR.services_by_name["AccessLogService"].full_name
METHOD: Final = "StreamAccessLogs"

# Envoy's short names (docs: config/observability/access_log/usage, %RESPONSE_FLAGS%), by its field numbers.
_FLAGS: Final[Mapping[int, str]] = {
    1: "LH", 2: "UH", 3: "UT", 4: "LR", 5: "UR", 6: "UF", 7: "UC", 8: "UO", 9: "NR", 10: "DI", 11: "FI", 12: "RL",
    13: "UAEX", 14: "RLSE", 15: "DC", 16: "URX", 17: "SI", 18: "IH", 19: "DPE", 20: "UMSDR", 21: "RFCF", 22: "NFCF",
    23: "DT", 24: "UPE", 25: "NC", 26: "OM", 27: "DF", 28: "DR",
}  # fmt: skip
_METHODS: Final = pb.HTTPRequestProperties.RequestMethod
# More than is kept: whoever takes credentials out must see that one goes on (collector).
_MOST_PATH: Final = 2048
_MOST_AGENT: Final = 1024
_MOST_NAME: Final = 128
_MOST_CREDENTIAL: Final = 64


@dataclass(frozen=True, slots=True)
class Reporter:
    """Which Envoy it is that reports; the first message of a stream says so, and no other."""

    gateway: str
    node: str


def read_message(raw: bytes, known: Reporter | None) -> tuple[Reporter | None, Iterator[AccessRecord]]:
    """A StreamAccessLogsMessage. Raises google.protobuf.message.DecodeError where it is none.

    `known`: who the stream's first message said it is. What comes from nobody is no record.
    """
    message = pb.StreamAccessLogsMessage.FromString(raw)
    if message.HasField("identifier"):
        node = message.identifier.node
        known = Reporter(node.cluster[:_MOST_NAME], node.id[:_MOST_NAME])
    if known is None or not known.gateway:
        return None, iter(())
    return known, _records(message, known)


def _records(message: pb.StreamAccessLogsMessage, reporter: Reporter) -> Iterator[AccessRecord]:
    for entry in message.http_logs.log_entry:
        # A stream that is still open says now and then how it is; it is counted when it has ended.
        if not entry.common_properties.intermediate_log_entry:
            yield _record(entry, reporter)


def _record(entry: pb.HTTPAccessLogEntry, reporter: Reporter) -> AccessRecord:
    common, request, response = entry.common_properties, entry.request, entry.response
    said = _said(common)
    method = request.request_method
    return AccessRecord(
        at=common.start_time.seconds + common.start_time.nanos / 1e9,
        gateway=reporter.gateway,
        node=reporter.node,
        request_id=request.request_id[:_MOST_NAME],
        method="" if not method else _METHODS.Name(method) if method in _METHODS.values() else "OTHER",
        # A query can hold anything, also what should be in no log.
        path=request.path.partition("?")[0].partition("#")[0][:_MOST_PATH],
        route=common.route_name[:_MOST_NAME],
        status=response.response_code.value,
        details=response.response_code_details[:_MOST_NAME],
        flags=_flags(common.response_flags) if common.HasField("response_flags") else "",
        duration=_duration(common),
        upstream_duration=_milliseconds(common, "time_to_last_upstream_rx_byte", "time_to_first_upstream_tx_byte"),
        upstream=common.upstream_cluster[:_MOST_NAME],
        attempts=common.upstream_request_attempt_count,
        octets_in=request.request_headers_bytes + request.request_body_bytes,
        octets_out=response.response_headers_bytes + response.response_body_bytes,
        address=common.downstream_remote_address.socket_address.address[:_MOST_NAME],
        user_agent=request.user_agent[:_MOST_AGENT],
        caller=said(descriptors.CALLER),
        subject=said(descriptors.SUBJECT),
        tenant=said(descriptors.TENANT),
        tier=said(descriptors.TIER),
        role=said(descriptors.ROLE),
        outcome=said(descriptors.OUTCOME),
        credential=said(descriptors.CREDENTIAL)[:_MOST_CREDENTIAL],
    )


def _said(common: pb.AccessLogCommon) -> Callable[[str], str]:
    """What authorization wrote of the caller, by its names."""
    namespaces = common.metadata.filter_metadata
    if descriptors.METADATA_NAMESPACE not in namespaces:
        return lambda _: ""
    fields = namespaces[descriptors.METADATA_NAMESPACE].fields
    return lambda name: fields[name].string_value[:_MOST_NAME] if name in fields else ""


def _flags(flags: pb.ResponseFlags) -> str:
    return ",".join(_FLAGS[field.number] for field, _ in flags.ListFields() if field.number in _FLAGS)


def _duration(common: pb.AccessLogCommon) -> float | None:
    """Until the last octet went to the client; where none did, for as long as the request lasted."""
    if common.HasField("time_to_last_downstream_tx_byte"):
        return _of(common.time_to_last_downstream_tx_byte)
    return _of(common.duration) if common.HasField("duration") else None


def _milliseconds(common: pb.AccessLogCommon, until: str, since: str) -> float | None:
    if not common.HasField(until) or not common.HasField(since):
        return None
    return max(_of(getattr(common, until)) - _of(getattr(common, since)), 0.0)


def _of(duration: Duration) -> float:
    return duration.seconds * 1e3 + duration.nanos / 1e6
