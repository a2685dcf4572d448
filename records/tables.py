"""The tables, as the newest migration leaves them."""

from datetime import UTC, datetime
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


class UtcDateTime(TypeDecorator[datetime]):
    """A moment, to the microsecond. SQLite knows no time zones: there UTC is written and UTC is read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# SQLite counts rows up by itself only where the column is exactly INTEGER.
RowId: Final = BigInteger().with_variant(Integer(), "sqlite")


class Table(DeclarativeBase):
    """What all tables share: names of constraints that migrations can rely on."""

    metadata = MetaData(
        naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "uq": "uq_%(table_name)s_%(column_0_N_name)s"}
    )


class AuditRow(Table):
    """One event of the audit of administration (R36): a link of its gateway's chain (records.audit_chain)."""

    __tablename__ = "admin_audit_logs"
    __table_args__ = (
        Index(None, "timestamp"),
        Index(None, "gateway", "timestamp"),
        Index(None, "principal", "timestamp"),
        Index(None, "request_id"),
        # Two links can not follow the same one.
        Index(None, "gateway", "position", unique=True),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    # Named by whoever saw the event, so that a batch that is sent twice is recorded once.
    event_id: Mapped[str] = mapped_column(String(64), unique=True)
    timestamp: Mapped[datetime] = mapped_column(UtcDateTime)
    gateway: Mapped[str] = mapped_column(String(64))
    endpoint: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(String(32))
    status: Mapped[int | None]
    outcome: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(128))
    principal: Mapped[str] = mapped_column(String(256))
    ip: Mapped[str] = mapped_column(String(64))
    user_agent: Mapped[str] = mapped_column(String(512))
    request_id: Mapped[str] = mapped_column(String(128))
    policy_version: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(64), server_default="")
    credential_id: Mapped[str] = mapped_column(String(128), server_default="")
    route: Mapped[str] = mapped_column(String(64), server_default="")
    # A row without these was not written by us: there was none before there were chains.
    position: Mapped[int | None] = mapped_column(BigInteger)
    prev_hash: Mapped[str | None] = mapped_column(String(64))
    row_hash: Mapped[str | None] = mapped_column(String(64))


class AuditChainRow(Table):
    """Where one gateway's chain ends, and where it begins since its oldest rows were removed."""

    __tablename__ = "audit_chains"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    row_hash: Mapped[str] = mapped_column(String(64))
    first_position: Mapped[int] = mapped_column(BigInteger)
    first_prev_hash: Mapped[str] = mapped_column(String(64))


class KeyRow(Table):
    """A partner's API key: everything about it but the key itself."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "partner"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # SHA-256 of the key's text, in hex (R94).
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    partner: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    tier: Mapped[str] = mapped_column(String(32))
    scopes: Mapped[list[str]] = mapped_column(JSON)
    # Null: any address. An empty list: none.
    networks: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(String(256))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    replaced_by: Mapped[str | None] = mapped_column(String(32))
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class FactVersionRow(Table):
    """How often a set of facts (such as the API keys) has changed."""

    __tablename__ = "fact_versions"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)


class FactAppliedRow(Table):
    """Which version of the facts a running process decides by, and when it last said so (the database's clock)."""

    __tablename__ = "fact_applied"

    instance: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    gateway: Mapped[str] = mapped_column(String(64))
    version: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[float] = mapped_column(Double)


class PolicyHistoryRow(Table):
    """One change of one gateway's policy: the text of its file, who changed it and why, and what became of it."""

    __tablename__ = "policy_history"
    __table_args__ = (Index(None, "gateway", "revision"), Index(None, "version"))

    revision: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    gateway: Mapped[str] = mapped_column(String(64))
    version: Mapped[str] = mapped_column(String(64))
    text: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(128))
    message: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    result: Mapped[str] = mapped_column(String(32))
    detail: Mapped[str] = mapped_column(Text)
    canary_percent: Mapped[int | None]


class ChangeClaimRow(Table):
    """A change of a gateway's policy that is being made: by which process, and when that last said so.

    By the database's clock, in seconds since the epoch.
    """

    __tablename__ = "change_claims"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    revision: Mapped[int] = mapped_column(Integer)
    seen_at: Mapped[float] = mapped_column(Double)


class SnapshotRow(Table):
    """The last configuration that every Envoy of a group accepted, without secrets."""

    __tablename__ = "last_good_snapshots"

    node_group: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[str] = mapped_column(String(64))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    saved_at: Mapped[datetime] = mapped_column(UtcDateTime)


class EndpointOverrideRow(Table):
    """Where an upstream's hosts are until somebody says otherwise, and where its file said they were at that time."""

    __tablename__ = "endpoint_overrides"

    gateway: Mapped[str] = mapped_column(String(64), primary_key=True)
    upstream: Mapped[str] = mapped_column(String(64), primary_key=True)
    endpoints: Mapped[list[str]] = mapped_column(JSON)
    written: Mapped[list[str]] = mapped_column(JSON)
    author: Mapped[str] = mapped_column(String(128))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class ConsentRow(Table):
    """A parent's consent for a child; both are subjects of tokens."""

    __tablename__ = "consents"
    __table_args__ = (Index(None, "child"), Index(None, "parent"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    child: Mapped[str] = mapped_column(String(255))
    parent: Mapped[str] = mapped_column(String(255))
    method: Mapped[str] = mapped_column(String(32))
    purposes: Mapped[list[str]] = mapped_column(JSON)
    granted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    granted_by: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class RevocationRow(Table):
    """Tokens that are refused although they are good: one by `jti`, or a subject's up to an issue time."""

    __tablename__ = "revocations"
    __table_args__ = (Index(None, "until"), Index(None, "issuer", "jti"), Index(None, "issuer", "subject"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    # The tokens' `iss`, which means the same to every gateway.
    issuer: Mapped[str] = mapped_column(String(500))
    jti: Mapped[str | None] = mapped_column(String(128))
    subject: Mapped[str | None] = mapped_column(String(255))
    issued_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    until: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
    revoked_by: Mapped[str] = mapped_column(String(128))
    revoked_at: Mapped[datetime] = mapped_column(UtcDateTime)


class UsageRow(Table):
    """Requests of one caller on one route with one result, in the time of its grain. Rows add up (records.usage)."""

    __tablename__ = "usage"
    __table_args__ = (
        Index(None, "scope", "start"), Index(None, "tenant", "start"), Index(None, "grain", "start"),
        Index(None, "caller", "start"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    grain: Mapped[int] = mapped_column(Integer)
    start: Mapped[int] = mapped_column(BigInteger)
    scope: Mapped[str] = mapped_column(String(16))
    gateway: Mapped[str] = mapped_column(String(128))
    route: Mapped[str] = mapped_column(String(128))
    caller: Mapped[str] = mapped_column(String(128))
    tenant: Mapped[str] = mapped_column(String(128))
    tier: Mapped[str] = mapped_column(String(32))
    status: Mapped[int] = mapped_column(Integer)
    credential: Mapped[str] = mapped_column(String(64), server_default="")
    requests: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    octets_in: Mapped[int] = mapped_column(BigInteger)
    octets_out: Mapped[int] = mapped_column(BigInteger)
    duration: Mapped[float] = mapped_column(Double)
    histogram: Mapped[str] = mapped_column(Text)


class AccessLogRow(Table):
    """One request, as an Envoy told of it (records.request_log)."""

    __tablename__ = "access_log"
    __table_args__ = (
        Index(None, "at"), Index(None, "gateway", "at"), Index(None, "tenant", "id"), Index(None, "request_id"),
        Index(None, "caller", "id", "status", "gateway"), Index(None, "caller", "credential", "id"),
    )  # fmt: skip

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    gateway: Mapped[str] = mapped_column(String(128))
    node: Mapped[str] = mapped_column(String(128))
    request_id: Mapped[str] = mapped_column(String(128))
    method: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(String(512))
    route: Mapped[str] = mapped_column(String(128))
    status: Mapped[int] = mapped_column(Integer)
    details: Mapped[str] = mapped_column(String(128))
    flags: Mapped[str] = mapped_column(String(128))
    duration: Mapped[float | None] = mapped_column(Double)
    upstream_duration: Mapped[float | None] = mapped_column(Double)
    upstream: Mapped[str] = mapped_column(String(128))
    attempts: Mapped[int] = mapped_column(Integer)
    octets_in: Mapped[int] = mapped_column(BigInteger)
    octets_out: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[str] = mapped_column(String(128))
    user_agent: Mapped[str] = mapped_column(String(256))
    caller: Mapped[str] = mapped_column(String(128))
    subject: Mapped[str] = mapped_column(String(128))
    tenant: Mapped[str] = mapped_column(String(128))
    tier: Mapped[str] = mapped_column(String(32))
    role: Mapped[str] = mapped_column(String(128))
    outcome: Mapped[str] = mapped_column(String(32))
    credential: Mapped[str] = mapped_column(String(64), server_default="")


class SpanRow(Table):
    """One span of a traced request (records.traces). `start` in seconds since the epoch, `duration` in milliseconds."""

    __tablename__ = "spans"
    __table_args__ = (
        Index(None, "trace_id"),
        Index(None, "request_id"),
        Index(None, "start"),
        Index(None, "edge", "id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    trace_id: Mapped[str] = mapped_column(String(32))
    span_id: Mapped[str] = mapped_column(String(16))
    parent_id: Mapped[str] = mapped_column(String(16))
    service: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(128))
    kind: Mapped[str] = mapped_column(String(16))
    start: Mapped[float] = mapped_column(Double)
    duration: Mapped[float] = mapped_column(Double)
    status: Mapped[int] = mapped_column(Integer)
    failed: Mapped[bool] = mapped_column(Boolean)
    edge: Mapped[bool] = mapped_column(Boolean)
    request_id: Mapped[str] = mapped_column(String(128))
    attributes: Mapped[dict[str, str]] = mapped_column(JSON)


class PortalSessionRow(Table):
    """Somebody who is signed in to the portal: the SHA-256 of what the browser holds, and who it is.

    In seconds since the epoch.
    """

    __tablename__ = "portal_sessions"
    __table_args__ = (Index(None, "ends_at"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person: Mapped[dict[str, object]] = mapped_column(JSON)
    seen_at: Mapped[float] = mapped_column(Double)
    ends_at: Mapped[float] = mapped_column(Double)


class WebhookRow(Table):
    """Where a partner wants to be told of events. The secret signs, so that it is kept as it is.

    `old_secret` signs beside it until `old_until`. `disabled`: why nothing is sent there, "" where it is.
    `failing_since`: when the first of the tries failed after which none was taken.
    """

    __tablename__ = "webhooks"
    __table_args__ = (Index(None, "partner"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    partner: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(String(500))
    secret: Mapped[str] = mapped_column(String(64))
    events: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Double)
    created_by: Mapped[str] = mapped_column(String(128))
    old_secret: Mapped[str] = mapped_column(String(64), server_default="")
    old_until: Mapped[float | None] = mapped_column(Double)
    disabled: Mapped[str] = mapped_column(String(16), server_default="")
    failing_since: Mapped[float | None] = mapped_column(Double)


class DeliveryRow(Table):
    """One event for one webhook, and what became of it. `next_at`: of the next try, NULL where there is none.

    `took`: how long the last answer took, in milliseconds.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "next_at"), Index(None, "webhook", "created_at"))

    id: Mapped[str] = mapped_column(String(80), primary_key=True)
    webhook: Mapped[str] = mapped_column(String(40))
    event: Mapped[str] = mapped_column(String(64))
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Double)
    next_at: Mapped[float | None] = mapped_column(Double)
    attempts: Mapped[int] = mapped_column(Integer)
    status: Mapped[str] = mapped_column(String(16))
    answer: Mapped[str] = mapped_column(String(200))
    last_at: Mapped[float | None] = mapped_column(Double)
    took: Mapped[float | None] = mapped_column(Double)
