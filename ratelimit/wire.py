"""Between envoy.service.ratelimit.v3 and our own request and decision.

Requests are parsed once per distinct request (plan_cache); an answer is made for each call.
"""

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError

from protos import rls_pb2 as pb
from ratelimit.answer import (
    FIGURES,
    RETRY_AFTER,
    binding,
    figures,
    fixed_headers,
    problem_body,
    retry_after,
    until,
    wants_headers,
)
from ratelimit.limiter import Decision
from ratelimit.matching import Plan
from ratelimit.request import Descriptor, Override, Request, Unit
from ratelimit.rules import Headers
from ratelimit.store import Reading

# uint64 on the wire; more hits than fit into a uint32 are as good as that many.
MOST_HITS: Final = (1 << 32) - 1
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
    """Raises UnreadableRequestError for bytes that are no request, an empty domain, and no descriptors."""
    try:
        message = pb.RateLimitRequest.FromString(raw)
    except DecodeError as error:
        raise UnreadableRequestError("not a RateLimitRequest") from error
    if not message.domain:
        raise UnreadableRequestError("rate limit domain must not be empty")
    if not message.descriptors:
        raise UnreadableRequestError("rate limit descriptor list must not be empty")
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

    What does not change from answer to answer is encoded once, parsed anew for each (which takes protobuf a
    microsecond or two), and only the figures are set: less than half the work of building the message.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._uncounted = _template(plan).SerializeToString()
        self._admitted = self._with_headers(admitted=True)
        self._refused = self._with_headers(admitted=False)
        self._bodies = [problem_body(rule) for rule in plan.limited] if plan.headers is not Headers.NEVER else None
        # The statuses that have figures, and their rules.
        self._counted = [index for index, rule in enumerate(plan.rules) if rule is not None and rule.limit is not None]

    def write(self, decision: Decision) -> bytes:
        """A serialised RateLimitResponse."""
        plan, readings = self._plan, decision.readings
        if not readings:
            return self._uncounted
        message = pb.RateLimitResponse.FromString(self._admitted if decision.admitted else self._refused)
        statuses = message.statuses
        for index, rule, reading in zip(self._counted, plan.limited, readings, strict=True):
            status = statuses[index]
            status.limit_remaining = min(reading[1], _UNLIMITED)
            seconds, rest = divmod(until(reading), _MILLION)
            duration = status.duration_until_reset
            duration.seconds, duration.nanos = seconds, rest * 1000
            if not reading[0] and not rule.shadow:
                status.code = pb.RateLimitResponse.OVER_LIMIT
        if wants_headers(plan, decision.admitted):
            for header, value in zip(message.response_headers_to_add, figures(plan, readings), strict=False):
                header.value = value
        if not decision.admitted:
            self._refuse(message, readings)
        return message.SerializeToString()

    def _refuse(self, message: pb.RateLimitResponse, readings: Sequence[Reading]) -> None:
        refusing = binding(self._plan, readings)
        if self._bodies is None or refusing is None:
            return
        message.raw_body = self._bodies[refusing]
        wait = retry_after(self._plan, readings)
        if wait is not None:
            message.response_headers_to_add.add(key=RETRY_AFTER, value=wait)

    def _with_headers(self, admitted: bool) -> bytes:
        message = _template(self._plan)
        if not admitted:
            message.overall_code = pb.RateLimitResponse.OVER_LIMIT
        if wants_headers(self._plan, admitted):
            for name in FIGURES:
                message.response_headers_to_add.add(key=name)
            for name, value in fixed_headers(self._plan, admitted):
                message.response_headers_to_add.add(key=name, value=value)
        return message.SerializeToString()


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
