"""Between envoy.service.ratelimit.v3 and our own request and decision.

Requests are parsed once per distinct request (plan_cache); an answer is made for each call.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from protos import rls_pb2 as pb
from ratelimit.answer import (
    RETRY_AFTER,
    Figures,
    figure_names,
    fixed_headers,
    metadata_of,
    problem_body,
    retry_after,
    until,
    wants_headers,
    with_request_id,
)
from ratelimit.matching import Plan
from ratelimit.request import Descriptor, Override, Request, Unit
from ratelimit.rules import Rule
from ratelimit.store import Outcome, Reading

# uint64 on the wire; more hits than fit into a uint32 are as good as that many.
MOST_HITS: Final = (1 << 32) - 1
# All limits of a request are charged in one step, for which all other requests wait.
MOST_DESCRIPTORS: Final = 256
_UNLIMITED: Final = (1 << 32) - 1
_MILLION: Final = 1_000_000

_UNITS: Final = {
    Unit.SECOND: pb.RateLimitResponse.RateLimit.SECOND,
    Unit.MINUTE: pb.RateLimitResponse.RateLimit.MINUTE,
    Unit.HOUR: pb.RateLimitResponse.RateLimit.HOUR,
    Unit.DAY: pb.RateLimitResponse.RateLimit.DAY,
    Unit.WEEK: pb.RateLimitResponse.RateLimit.WEEK,
    Unit.MONTH: pb.RateLimitResponse.RateLimit.MONTH,
    Unit.YEAR: pb.RateLimitResponse.RateLimit.YEAR,
}
_OVERRIDE_UNITS: Final = {
    pb.RateLimitDescriptor.RateLimitOverride.SECOND: Unit.SECOND,
    pb.RateLimitDescriptor.RateLimitOverride.MINUTE: Unit.MINUTE,
    pb.RateLimitDescriptor.RateLimitOverride.HOUR: Unit.HOUR,
    pb.RateLimitDescriptor.RateLimitOverride.DAY: Unit.DAY,
    pb.RateLimitDescriptor.RateLimitOverride.MONTH: Unit.MONTH,
    pb.RateLimitDescriptor.RateLimitOverride.YEAR: Unit.YEAR,
}


class UnreadableRequestError(Exception):
    """A request that is no question: its text says what is missing."""


def read_request(raw: bytes) -> Request:
    """Raises UnreadableRequestError for bytes that are no request, an empty domain, and no descriptors or too many."""
    try:
        message = pb.RateLimitRequest.FromString(raw)
    except DecodeError as error:
        raise UnreadableRequestError("not a RateLimitRequest") from error
    if not message.domain:
        raise UnreadableRequestError("rate limit domain must not be empty")
    if not message.descriptors:
        raise UnreadableRequestError("rate limit descriptor list must not be empty")
    if len(message.descriptors) > MOST_DESCRIPTORS:
        raise UnreadableRequestError(f"a request has at most {MOST_DESCRIPTORS} descriptors")
    default = message.hits_addend or 1
    return Request(message.domain, tuple(_descriptor(each, default) for each in message.descriptors))


def _descriptor(message: pb.RateLimitDescriptor, default: int) -> Descriptor:
    hits = min(message.hits_addend.value, MOST_HITS) if message.HasField("hits_addend") else default
    entries = tuple((entry.key, entry.value) for entry in message.entries)
    override = None
    if message.HasField("limit"):
        unit = _OVERRIDE_UNITS.get(message.limit.unit)
        if unit is None:
            raise UnreadableRequestError("a limit that comes with a descriptor needs a unit")
        override = Override(message.limit.requests_per_unit, unit)
    return Descriptor(entries, -hits if message.is_negative_hits else hits, override)


class AnswerWriter:
    """Writes the answers to one plan.

    What does not change from answer to answer is encoded once and parsed anew for each, which costs protobuf little;
    then the figures are set. That is less than half the work of building the whole message.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._limited = plan.limited
        self._counted = [index for index, rule in enumerate(plan.rules) if rule is not None and rule.limit is not None]
        self._figures = Figures(plan)
        self._headed = wants_headers(plan, admitted=True), wants_headers(plan, admitted=False)
        self._uncounted = _template(plan).SerializeToString()
        self._admitted = _admitting(plan).SerializeToString()
        # One for each limit that can refuse.
        self._refused = [_refusing(plan, rule).SerializeToString() for rule in plan.limited]

    def write(self, outcome: Outcome, request_id: bytes = b"") -> bytes:
        """A serialised RateLimitResponse; `request_id` is for the body of a refusal, where it is known."""
        admitted, readings = outcome
        if not readings:
            return self._uncounted
        binding = None if admitted else self._figures.binding(readings)
        message = pb.RateLimitResponse.FromString(self._admitted if binding is None else self._refused[binding])
        self._set_statuses(message, readings)
        if self._headed[not admitted]:
            headers = message.response_headers_to_add
            for header, value in zip(headers, self._figures.of(readings), strict=False):
                header.value = value
            wait = None if binding is None else retry_after(readings[binding])
            if wait is not None:
                headers.add(key=RETRY_AFTER, value=wait)
            if request_id and message.raw_body:
                message.raw_body = with_request_id(message.raw_body, request_id)
        if self._plan.metadata:
            message.dynamic_metadata.update(metadata_of(self._plan, readings))
        return message.SerializeToString()

    def _set_statuses(self, message: pb.RateLimitResponse, readings: Sequence[Reading]) -> None:
        statuses = message.statuses
        for index, rule, reading in zip(self._counted, self._limited, readings, strict=True):
            status = statuses[index]
            remaining = reading[1]
            if remaining:
                status.limit_remaining = remaining if remaining < _UNLIMITED else _UNLIMITED
            duration = status.duration_until_reset
            duration.seconds, rest = divmod(until(reading), _MILLION)
            duration.nanos = rest * 1000
            if not reading[0] and not rule.shadow:
                status.code = pb.RateLimitResponse.OVER_LIMIT


def _admitting(plan: Plan) -> pb.RateLimitResponse:
    message = _template(plan)
    if wants_headers(plan, admitted=True):
        _add_headers(message, plan, admitted=True)
    return message


def _refusing(plan: Plan, rule: Rule) -> pb.RateLimitResponse:
    """An answer in which this rule is the one that speaks."""
    message = _template(plan)
    message.overall_code = pb.RateLimitResponse.OVER_LIMIT
    if wants_headers(plan, admitted=False):
        _add_headers(message, plan, admitted=False)
        message.raw_body = problem_body(rule)
    return message


def _add_headers(message: pb.RateLimitResponse, plan: Plan, admitted: bool) -> None:
    for name in figure_names(plan.names):
        message.response_headers_to_add.add(key=name)
    for name, value in fixed_headers(plan, admitted):
        message.response_headers_to_add.add(key=name, value=value)


def _template(plan: Plan) -> pb.RateLimitResponse:
    message = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK)
    for rule in plan.rules:
        status = message.statuses.add(code=pb.RateLimitResponse.OK)
        if rule is None:
            continue
        if rule.limit is None:
            status.limit_remaining = _UNLIMITED
            continue
        status.current_limit.requests_per_unit = min(rule.amount, _UNLIMITED)
        status.current_limit.unit = _UNITS[rule.unit]
        status.current_limit.name = rule.name
    return message


def request_of_json(text: bytes) -> bytes:
    """A serialised RateLimitRequest of one in protobuf's JSON. Raises UnreadableRequestError."""
    try:
        return json_format.Parse(text, pb.RateLimitRequest()).SerializeToString()
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableRequestError("not a RateLimitRequest in JSON") from error


def answer_as_json(raw: bytes) -> tuple[bool, str]:
    """Whether a serialised RateLimitResponse admits the request, and the response in protobuf's JSON."""
    message = pb.RateLimitResponse.FromString(raw)
    return message.overall_code == pb.RateLimitResponse.OK, json_format.MessageToJson(message, indent=None)
