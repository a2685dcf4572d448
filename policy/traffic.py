"""What happens to the traffic of a route on its way: where to, how often, how long, and what may be wrong on purpose.

Everything is off unless it is written, and what is off costs nothing. docs/operate/traffic.md shows each of them.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from email.utils import format_datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from policy.edge import Cors
from policy.header_changes import Headers
from policy.kinds import Count, Method, Milliseconds, Model, Name, Seconds, Text
from policy.rewriting import Redirect, Rewrite

# Up to a day: what streams may well go on for hours.
_StreamMilliseconds = Annotated[int, Field(strict=True, ge=1, le=86_400_000)]
Weight = Annotated[int, Field(strict=True, ge=0, le=100_000)]
# In hundredths of a percent, which is how finely Envoy is told.
Percentage = Annotated[float, Field(strict=True, ge=0.01, le=100, multiple_of=0.01)]
ErrorStatus = Annotated[int, Field(strict=True, ge=400, le=599)]
# What stands between < and > in a Link header (RFC 8288), and could end neither it nor the header.
HttpsUrl = Annotated[
    str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9/_.~#?&=+-]*)?$")
]


def _day(value: object) -> object:
    # pydantic takes a number for seconds since 1970.
    if not isinstance(value, date) and not (isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value)):
        raise ValueError("a date is YYYY-MM-DD")
    return value


Day = Annotated[date, BeforeValidator(_day)]


class RetryOn(StrEnum):
    """After which failures another try is made. The first three are safe: the service cannot have acted."""

    CONNECT_FAILURE = "connect-failure"
    REFUSED_STREAM = "refused-stream"
    RESET_BEFORE_REQUEST = "reset-before-request"
    RESET = "reset"
    SERVER_ERROR = "5xx"
    GATEWAY_ERROR = "gateway-error"
    CONFLICT = "retriable-4xx"


SAFE_RETRIES = frozenset({RetryOn.CONNECT_FAILURE, RetryOn.REFUSED_STREAM, RetryOn.RESET_BEFORE_REQUEST})
IDEMPOTENT = frozenset({Method.GET, Method.HEAD, Method.PUT, Method.DELETE, Method.OPTIONS})


class Retries(Model):
    """Other tries, each on a host that has not failed yet. How many may go on at a time is the upstream's business."""

    attempts: Annotated[int, Field(strict=True, ge=1, le=10)] = Field(2, description="After the first.")
    retry_on: Annotated[tuple[RetryOn, ...], Field(min_length=1)] = (
        RetryOn.CONNECT_FAILURE,
        RetryOn.REFUSED_STREAM,
        RetryOn.RESET_BEFORE_REQUEST,
    )
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] | None = Field(
        None, description="Retried after any of these failures, others after safe ones alone; unset: idempotent ones."
    )
    per_try_timeout_ms: Milliseconds | None = Field(None, description="Of each try; the route's time-out is of all.")
    back_off_ms: Milliseconds = Field(25, description="Before the second try, about; then longer each time.")
    max_back_off_ms: Milliseconds = 250

    @property
    def safe(self) -> bool:
        """Whether nothing is tried again that the service may have acted on."""
        return SAFE_RETRIES.issuperset(self.retry_on) and self.per_try_timeout_ms is None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.max_back_off_ms < self.back_off_ms:
            raise ValueError("max_back_off_ms is at least back_off_ms")
        return self


class Streaming(Model):
    """Answers that go on: server-sent events, long polls, downloads. No time-out of the whole; these two instead."""

    idle_timeout_ms: _StreamMilliseconds = Field(60_000, description="Nothing moves for so long: the stream ends.")
    max_duration_ms: _StreamMilliseconds = Field(3_600_000, description="The stream ends, whatever moves.")


class Upgrade(StrEnum):
    """To which protocols a connection may change (RFC 9110 §7.8)."""

    WEBSOCKET = "websocket"


class Mirror(Model):
    """A copy of requests for another service, whose answers nobody sees."""

    upstream: Name
    percent: Percentage = 100.0
    credentials: bool = Field(False, description="Tokens, keys, cookies and signatures are copied too.")


class Fault(Model):
    """What goes wrong on purpose, for tests of callers. No header of a request can ask for it."""

    delay_ms: Milliseconds | None = None
    delay_percent: Percentage = 100.0
    abort_status: ErrorStatus | None = None
    abort_percent: Percentage = 100.0

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.delay_ms is None and self.abort_status is None:
            raise ValueError("delay_ms or abort_status")
        for field, of in (("delay_percent", self.delay_ms), ("abort_percent", self.abort_status)):
            if field in self.model_fields_set and of is None:
                raise ValueError(f"{field} is of nothing")
        return self


class LocalLimit(Model):
    """How many requests each Envoy lets through to the service, whoever they are from."""

    requests_per_second: Count
    burst: Count | None = Field(None, description="At once; unset: as many as in a second.")


class Maintenance(Model):
    """While this is written, Envoy answers 503 by itself."""

    message: Text
    retry_after_seconds: Seconds = 300


class Deprecation(Model):
    """From when clients should leave this route (RFC 9745), until when they can (RFC 8594), and where that is said."""

    since: Day
    sunset: Day | None = None
    link: HttpsUrl | None = None
    removed: bool = Field(False, description="Answer 410, and ask nobody.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.sunset is not None and self.sunset < self.since:
            raise ValueError("sunset is not before since (RFC 9745 §4)")
        return self

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Name and value of each header that says it."""
        found = [("deprecation", f"@{int(_midnight(self.since).timestamp())}")]
        if self.sunset is not None:
            found.append(("sunset", format_datetime(_midnight(self.sunset), usegmt=True)))
        if self.link is not None:
            found.append(("link", f'<{self.link}>; rel="deprecation"; type="text/html"'))
            if self.sunset is not None:
                found.append(("link", f'<{self.link}>; rel="sunset"; type="text/html"'))
        return tuple(found)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


class Traffic(Model):
    """The part of a route that says what happens to its traffic."""

    split: Annotated[Mapping[Name, Weight], Field(min_length=1, max_length=20)] | None = Field(
        None, description="Instead of `upstream`: upstream -> weight."
    )
    redirect: Redirect | None = Field(None, description="Instead of `upstream`: where clients are sent.")
    retries: Retries | None = None
    idle_timeout_ms: Milliseconds | None = Field(None, description="Nothing moves for so long: the request ends.")
    streaming: Streaming | None = None
    upgrades: tuple[Upgrade, ...] = Field((), description="For clients and services of HTTP/1.1; needs `streaming`.")
    cors: Cors | None = Field(None, description="Instead of the listener's.")
    headers: Headers | None = None
    rewrite: Rewrite | None = None
    mirror: Annotated[tuple[Mirror, ...], Field(max_length=4)] = ()
    fault: Fault | None = None
    local_limit: LocalLimit | None = None
    maintenance: Maintenance | None = None
    deprecation: Deprecation | None = None

    @model_validator(mode="after")
    def _traffic_is_possible(self) -> Self:
        if self.split is not None and not any(self.split.values()):
            raise ValueError("the weights of split are not all 0")
        if self.streaming is not None and self.idle_timeout_ms is not None:
            raise ValueError("streaming has an idle_timeout_ms of its own")
        if self.streaming is not None and self.retries is not None and self.retries.per_try_timeout_ms is not None:
            raise ValueError("per_try_timeout_ms would end a stream")
        if self.upgrades and self.streaming is None:
            raise ValueError("upgrades need streaming, whose time-outs end them")
        if self.upgrades and self.mirror:
            raise ValueError("upgrades cannot be mirrored")
        if self.redirect is not None:
            for field in (
                "retries",
                "idle_timeout_ms",
                "streaming",
                "upgrades",
                "rewrite",
                "mirror",
                "local_limit",
                "fault",
            ):
                if getattr(self, field):
                    raise ValueError(f"redirect has no {field}: nothing is sent to a service")
            if self.headers is not None and self.headers.request is not None:
                raise ValueError("redirect has no headers.request: nothing is sent to a service")
        return self

    @property
    def answered(self) -> bool:
        """Whether Envoy answers by itself, and asks neither authz nor a service."""
        return self.maintenance is not None or (self.deprecation is not None and self.deprecation.removed)
