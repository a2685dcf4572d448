"""One span of a traced request (OpenTelemetry)."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """`start`: seconds since the epoch, `duration`: milliseconds. Ids in lower-case hex; `parent_id` "" for none.

    `service`: who tells. `kind`: of the five of OpenTelemetry, in lower case, or "". `edge`: the span of a gateway that
    clients reach, so the one that a trace of ours begins with. `status`: of HTTP, 0 where there is none.
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    start: float
    duration: float
    status: int
    failed: bool
    edge: bool
    request_id: str
    attributes: Mapping[str, str]
