"""The durable audit of administration (R36): a batch in, rows out by what people ask for."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import select

from records.database import Database
from records.tables import AuditRow

MAX_ROWS: Final = 1000

# Lengths of the columns: a client chooses some of these texts, and a long one must not lose the row.
_LENGTHS: Final = {
    "event_id": 64,
    "gateway": 64,
    "endpoint": 4096,
    "method": 32,
    "outcome": 64,
    "reason": 128,
    "principal": 256,
    "ip": 64,
    "user_agent": 512,
    "request_id": 128,
    "policy_version": 64,
}


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what, when, from where, and what came of it. `status` is None while nothing has been answered yet.

    `event_id` names the event: the same entry written twice is one row.
    """

    timestamp: datetime
    gateway: str
    endpoint: str
    method: str
    outcome: str
    status: int | None = None
    reason: str = ""
    principal: str = ""
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    policy_version: str = ""
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A row: the entry with its place in the table, and its hashes once it is chained."""

    row_id: int
    entry: AuditEntry
    prev_hash: str | None
    row_hash: str | None


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What to look for; None is no condition. `since` is included, `until` is not. `before` continues a listing."""

    gateway: str | None = None
    principal: str | None = None
    request_id: str | None = None
    endpoint_prefix: str | None = None
    method: str | None = None
    status: int | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 100


class AuditLog:
    """The table `admin_audit_logs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, entries: Sequence[AuditEntry]) -> None:
        """Append a batch, all of it or nothing. When it returns, the rows are on disk."""
        if not entries:
            return
        insert = self._database.insert_into(AuditRow).on_conflict_do_nothing(index_elements=["event_id"])
        async with self._database.writing() as session:
            await (await session.connection()).execute(insert, [_values(entry) for entry in entries])

    async def find(self, query: AuditQuery) -> Sequence[StoredEntry]:
        """Rows that meet every condition, the newest first."""
        conditions = {
            AuditRow.gateway: query.gateway,
            AuditRow.principal: query.principal,
            AuditRow.request_id: query.request_id,
            AuditRow.method: query.method,
            AuditRow.status: query.status,
            AuditRow.outcome: query.outcome,
        }
        select_ = select(AuditRow).where(
            *(column == value for column, value in conditions.items() if value is not None)
        )
        if query.endpoint_prefix is not None:
            select_ = select_.where(AuditRow.endpoint.startswith(query.endpoint_prefix, autoescape=True))
        if query.since is not None:
            select_ = select_.where(AuditRow.timestamp >= query.since)
        if query.until is not None:
            select_ = select_.where(AuditRow.timestamp < query.until)
        if query.before is not None:
            select_ = select_.where(AuditRow.id < query.before)
        newest = select_.order_by(AuditRow.id.desc()).limit(max(1, min(query.limit, MAX_ROWS)))
        async with self._database.reading() as session:
            return [_read(row) for row in await session.scalars(newest)]


def _values(entry: AuditEntry) -> dict[str, object]:
    values: dict[str, object] = asdict(entry)
    return values | {name: _storable(str(values[name]), length) for name, length in _LENGTHS.items()}


def _storable(text: str, length: int) -> str:
    # PostgreSQL stores neither U+0000 nor half of a surrogate pair; one client's odd bytes must not block the batch.
    return text.replace("\x00", "�").encode("utf-8", "replace").decode("utf-8")[:length]


def _read(row: AuditRow) -> StoredEntry:
    entry = AuditEntry(
        timestamp=row.timestamp,
        gateway=row.gateway,
        endpoint=row.endpoint,
        method=row.method,
        outcome=row.outcome,
        status=row.status,
        reason=row.reason,
        principal=row.principal,
        ip=row.ip,
        user_agent=row.user_agent,
        request_id=row.request_id,
        policy_version=row.policy_version,
        event_id=row.event_id,
    )
    return StoredEntry(row.id, entry, row.prev_hash, row.row_hash)
