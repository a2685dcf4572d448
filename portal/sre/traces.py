"""/portal/sre/traces: the newest traced requests, and where each of them spent its time."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portal.developer.browser import Doorkeeper, Refusal
from portal.developer.pages import page
from portal.sre.console import SRE, Guard, nothing_here
from portal.sre.waterfall import SpanShown, waterfall
from records.traces import MOST_SPANS

TRACES: Final = f"{SRE}/traces"
_PAGE: Final = 50
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")


class TraceFilters(BaseModel):
    """Which traces: of a request, of a status or a class of them, those that took so long; from a row on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: str = Field("", max_length=128, pattern=r"^[\x20-\x7e]*$")
    status: str = Field("", pattern=r"^(|[2345]|[1-5][0-9]{2})$")
    least: str = Field("", pattern=r"^[0-9]{0,6}$")
    before: str = Field("", pattern=r"^[0-9]{0,18}$")


class TraceLog(Protocol):
    """What was told of traced requests. Raises Refusal where it cannot be read."""

    async def find(self, filters: TraceFilters, count: int) -> Sequence[Mapping[str, Any]]: ...

    async def spans(self, trace_id: str) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class TraceShown:
    """A trace by the span that it begins with."""

    row: int
    trace_id: str
    request_id: str
    name: str
    path: str
    at: datetime
    duration: float
    status: int
    details: str

    @property
    def mood(self) -> str:
        return "good" if 200 <= self.status < 400 else "warn" if 400 <= self.status < 500 else "bad"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "TraceShown":
        told: Mapping[str, str] = row["attributes"]
        return cls(
            row=row["id"],
            trace_id=row["trace_id"],
            request_id=row["request_id"],
            name=row["name"],
            path=told.get("url.path", ""),
            at=datetime.fromtimestamp(row["start"], UTC),
            duration=row["duration"],
            status=row["status"],
            details=told.get("apibank.response_code_details", ""),
        )


def trace_pages(door: Doorkeeper, log: TraceLog) -> APIRouter:
    """`/portal/sre/traces` and `/portal/sre/traces/TRACE_ID`."""
    router = APIRouter(include_in_schema=False)
    guard = Guard(door)

    @router.get(TRACES)
    async def traces(request: Request) -> Response:
        visit = await guard.admit(request)
        filters = _filters(request.query_params.items())
        found = [TraceShown.of(row) for row in await log.find(filters, _PAGE + 1)]
        older = None
        if len(found) > _PAGE:
            found = found[:_PAGE]
            asked = filters.model_dump(exclude={"before"}) | {"before": str(found[-1].row)}
            older = f"{TRACES}?{urlencode({name: value for name, value in asked.items() if value})}"
        is_filtered = any(filters.model_dump().values())
        return page(
            "sre/traces.html", visit, here=SRE, found=found, filters=filters, older=older, is_filtered=is_filtered
        )

    @router.get(TRACES + "/{trace_id}")
    async def trace(trace_id: str, request: Request) -> Response:
        visit = await guard.admit(request)
        rows = await log.spans(trace_id) if _TRACE_ID.fullmatch(trace_id) else []
        if not rows:
            raise nothing_here()
        steps = waterfall([SpanShown.of(row) for row in rows])
        whole = max(step.after + step.span.duration for step in steps)
        request_id = next((row["request_id"] for row in rows if row["request_id"]), "")
        at = datetime.fromtimestamp(min(row["start"] for row in rows), UTC)
        return page(
            "sre/trace.html", visit, here=SRE, steps=steps, whole=whole, trace_id=trace_id, request_id=request_id,
            at=at, is_cut=len(rows) >= MOST_SPANS,
        )  # fmt: skip

    return router


def _filters(given: Iterable[tuple[str, str]]) -> TraceFilters:
    try:
        return TraceFilters.model_validate({name: value.strip() for name, value in given})
    except ValidationError:
        text = (
            "A status is 2, 3, 4 or 5, or three digits; a request id has at most 128 characters; a time is whole "
            "milliseconds."
        )
        raise Refusal(400, "There is no such filter", text) from None
