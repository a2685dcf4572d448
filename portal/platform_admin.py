"""`/api/platform/admin`: restarts of agents, the log of requests, the audit; for administrators (R31, R32, R36)."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from portal.platform_caller import Caller, admin_of
from portal.platform_rows import AuditedEvent, AuditedEvents, LoggedRequest, LoggedRequests, Restarting, moment
from portal.problems import Refused
from records.audit_log import AuditLog, AuditQuery
from records.errors import LOST_DATABASE
from records.request_log import RequestLog, Wanted

# What a row raises that somebody has changed by hand.
_UNREADABLE: Final = (ValueError, TypeError, OverflowError)

Admin = Annotated[Caller, Depends(admin_of)]
# No database holds U+0000.
Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
Count = Annotated[int, Field(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[int | None, Field(ge=1, le=2**63 - 1, description="`next` of the page before.")]


class Restarts(Protocol):
    async def restart(self, agent: str, caller: Caller) -> None:
        """Return when the agent is there again. Raises Refused."""


class Times(BaseModel):
    """`since` is included, `until` is not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    cursor: Cursor = None
    count: Count = 100


class LogsWanted(Times):
    """Which requests; all that meet everything that is said."""

    gateway: Name | None = None
    route: Name | None = None
    caller: Name | None = None
    tenant: Name | None = None
    request_id: Name | None = None
    status: Annotated[
        int | None, Field(ge=0, le=599, description="One, or a class: 4 for 400 to 499; 0 for those without an answer.")
    ] = None


class AuditWanted(Times):
    """Which rows of the audit; all that meet everything that is said."""

    gateway: Name | None = None
    principal: Name | None = None
    request_id: Name | None = None
    endpoint: Annotated[Name | None, Field(description="How it begins.")] = None
    method: Name | None = None
    outcome: Name | None = None
    status: Annotated[int | None, Field(ge=100, le=599)] = None


def admin_routes(restarts: Restarts, log: RequestLog, audit: AuditLog) -> APIRouter:
    """The routes, with full paths: no gateway strips a prefix (R16)."""
    router = APIRouter(prefix="/api/platform/admin", tags=["platform"])

    @router.post("/restart-agent", summary="Restart an agent")
    async def restart_agent(
        caller: Admin, agent_id: Annotated[str, Query(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    ) -> Restarting:
        """Orders the restart over the bus, and answers when the agent has said that it began anew."""
        await restarts.restart(agent_id, caller)
        return Restarting(status="restarting", agent_id=agent_id)

    @router.get("/logs", summary="What became of requests")
    async def logs(_: Admin, wanted: Annotated[LogsWanted, Query()], response: Response) -> LoggedRequests:
        """Requests as the gateways' Envoys told of them, the newest first; a request through two gateways is in it
        twice."""
        response.headers["cache-control"] = "no-store"
        conditions = wanted.model_dump(include={"gateway", "route", "caller", "tenant", "request_id", "status"})
        query = Wanted(since=_seconds(wanted.since), until=_seconds(wanted.until), before=wanted.cursor, **conditions)
        try:
            rows = await log.find(query, wanted.count)
        except LOST_DATABASE:
            raise Refused(503, "figures_unavailable", "The log of requests cannot be read at the moment.") from None
        found = [LoggedRequest(**{**row, "at": moment(row["at"])}) for row in rows]
        return LoggedRequests(requests=found, next=rows[-1]["id"] if len(rows) == wanted.count else None)

    @router.get("/audit", summary="Who did what")
    async def search(_: Admin, wanted: Annotated[AuditWanted, Query()], response: Response) -> AuditedEvents:
        """Rows of the audit, the newest first."""
        response.headers["cache-control"] = "no-store"
        query = AuditQuery(
            gateway=wanted.gateway,
            principal=wanted.principal,
            request_id=wanted.request_id,
            endpoint_prefix=wanted.endpoint,
            method=wanted.method,
            status=wanted.status,
            outcome=wanted.outcome,
            since=wanted.since,
            until=wanted.until,
            before=wanted.cursor,
            limit=wanted.count,
        )
        try:
            rows = await audit.find(query)
        except LOST_DATABASE:
            raise Refused(503, "audit_unavailable", "The audit cannot be read at the moment.") from None
        except _UNREADABLE:
            detail = "A row cannot be read: `apibank audit verify` names it."
            raise Refused(503, "audit_unavailable", detail) from None
        found = [AuditedEvent(id=row.row_id, position=row.position, **asdict(row.entry)) for row in rows]
        return AuditedEvents(entries=found, next=rows[-1].row_id if len(rows) == wanted.count else None)

    return router


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
