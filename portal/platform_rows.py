"""What administrators are shown: requests and rows of the audit, as the reference describes them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class LoggedRequest(BaseModel):
    """A request as an Envoy told of it (telemetry.access_log.record). Durations in milliseconds."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: int
    at: datetime
    gateway: str
    node: str
    request_id: str
    method: str
    path: Annotated[str, Field(description="Without its query.")]
    route: str
    status: Annotated[int, Field(description="0 where no answer was begun.")]
    details: Annotated[str, Field(description="Envoy's response code details.")]
    flags: Annotated[str, Field(description="Envoy's response flags.")]
    duration: float | None
    upstream_duration: float | None
    upstream: str
    attempts: int
    octets_in: int
    octets_out: int
    address: str
    user_agent: str
    caller: Annotated[str, Field(description="Whose limits were charged, such as tenant:acme.")]
    subject: Annotated[str, Field(description="The pseudonym that the audit has, too.")]
    tenant: str
    tier: str
    role: str
    outcome: Annotated[str, Field(description="What authorization said.")]


class AuditedEvent(BaseModel):
    """A row of the audit."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: int
    position: Annotated[int | None, Field(description="In its gateway's chain.")]
    timestamp: datetime
    gateway: str
    route: str
    endpoint: str
    method: str
    outcome: str
    status: int | None
    reason: str
    principal: str
    role: str
    credential_id: str
    ip: str
    user_agent: str
    request_id: str
    policy_version: str
    event_id: str


Next = Annotated[int | None, Field(description="`cursor` of the next page; null at the end.")]


class LoggedRequests(BaseModel):
    """A page of requests, the newest first."""

    requests: Sequence[LoggedRequest]
    next: Next


class AuditedEvents(BaseModel):
    """A page of the audit, the newest first."""

    entries: Sequence[AuditedEvent]
    next: Next


class Restarting(BaseModel):
    """The agent has said that it began anew."""

    status: str
    agent_id: str


def moment(seconds: float) -> datetime:
    """Of seconds since the epoch, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
