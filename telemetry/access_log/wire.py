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
_MOST_WORD: Final = 32
# What one request can be; beyond it is a mistake or a lie, and no sum may overflow by it.
_MOST_OCTETS: Final = 1 << 50
_MOST_MILLISECONDS: Final = 86_400_000.0 * 365
_MOST_ATTEMPTS: Final = 1 << 16
_MOST_STATUS: Final = 999
_LAST_MOMENT: Final = float(1 << 33)


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
        known = Reporter(_plain(node.cluster, _MOST_NAME), _plain(node.id, _MOST_NAME))
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
        at=min(max(common.start_time.seconds + common.start_time.nanos / 1e9, 0.0), _LAST_MOMENT),
        gateway=reporter.gateway,
        node=reporter.node,
        request_id=_plain(request.request_id, _MOST_NAME),
        method="" if not method else _METHODS.Name(method) if method in _METHODS.values() else "OTHER",
        # A query can hold anything, also what should be in no log.
        path=_plain(request.path.partition("?")[0].partition("#")[0], _MOST_PATH),
        route=_plain(common.route_name, _MOST_NAME),
        status=min(response.response_code.value, _MOST_STATUS),
        details=_plain(response.response_code_details, _MOST_NAME),
        flags=_flags(common.response_flags) if common.HasField("response_flags") else "",
        duration=_duration(common),
        upstream_duration=_milliseconds(common, "time_to_last_upstream_rx_byte", "time_to_first_upstream_tx_byte"),
        upstream=_plain(common.upstream_cluster, _MOST_NAME),
        attempts=min(common.upstream_request_attempt_count, _MOST_ATTEMPTS),
        octets_in=min(request.request_headers_bytes + request.request_body_bytes, _MOST_OCTETS),
        octets_out=min(response.response_headers_bytes + response.response_body_bytes, _MOST_OCTETS),
        address=_plain(common.downstream_remote_address.socket_address.address, _MOST_NAME),
        user_agent=_plain(request.user_agent, _MOST_AGENT),
        caller=said(descriptors.CALLER),
        subject=said(descriptors.SUBJECT),
        tenant=said(descriptors.TENANT),
        tier=said(descriptors.TIER)[:_MOST_WORD],
        role=said(descriptors.ROLE),
        outcome=said(descriptors.OUTCOME)[:_MOST_WORD],
        credential=said(descriptors.CREDENTIAL)[:_MOST_CREDENTIAL],
    )


def _said(common: pb.AccessLogCommon) -> Callable[[str], str]:
    """What authorization wrote of the caller, by its names."""
    namespaces = common.metadata.filter_metadata
    if descriptors.METADATA_NAMESPACE not in namespaces:
        return lambda _: ""
    fields = namespaces[descriptors.METADATA_NAMESPACE].fields
    return lambda name: _plain(fields[name].string_value, _MOST_NAME) if name in fields else ""


def _flags(flags: pb.ResponseFlags) -> str:
    return ",".join(_FLAGS[field.number] for field, _ in flags.ListFields() if field.number in _FLAGS)[:_MOST_NAME]


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
    return min(max(duration.seconds * 1e3 + duration.nanos / 1e6, 0.0), _MOST_MILLISECONDS)


def _plain(text: str, most: int) -> str:
    # PostgreSQL has no text with a NUL.
    return text.replace("\x00", "")[:most]
