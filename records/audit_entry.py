"""One event of the audit of administration, as it is written and as it is read."""

import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from records.tables import AuditRow

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
    "role": 64,
    "credential_id": 128,
    "route": 64,
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
    role: str = ""
    credential_id: str = ""
    route: str = ""
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """A row: the entry with its place in the table and in its gateway's chain."""

    row_id: int
    entry: AuditEntry
    position: int | None
    prev_hash: str | None
    row_hash: str | None


def storable(entry: AuditEntry) -> AuditEntry:
    """The entry as every database can hold it, and gives it back. Raises ValueError where its moment has no zone."""
    if entry.timestamp.tzinfo is None:
        raise ValueError("the moment of an audited event needs a time zone")
    texts = {name: _text(str(value), _LENGTHS[name]) for name, value in asdict(entry).items() if name in _LENGTHS}
    return replace(entry, timestamp=entry.timestamp.astimezone(UTC), **texts)  # type: ignore[arg-type]


def _text(text: str, length: int) -> str:
    # PostgreSQL stores neither U+0000 nor half of a surrogate pair; one client's odd bytes must not block the batch.
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:length]


def read_row(row: AuditRow) -> StoredEntry:
    """What a row says."""
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
        role=row.role,
        credential_id=row.credential_id,
        route=row.route,
        event_id=row.event_id,
    )
    return StoredEntry(row.id, entry, row.position, row.prev_hash, row.row_hash)
