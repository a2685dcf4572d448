"""How the rows of one gateway are chained: each says what the one before it was.

A row's hash is the SHA-256 of its canonical form, which holds the hash of the row before it. Whoever changes, removes
or adds a row within the chain must write all later rows anew, and then the chain does not end as it did before: a copy
of its end that is kept elsewhere (an anchor) shows it.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC
from typing import Final

import orjson

from records.audit_entry import AuditEntry

# Before the first row of every chain.
GENESIS: Final = "0" * 64
# Stands first in what is hashed: another form, such as one with more columns, gets another name.
FORM: Final = "apibank-audit-1"


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The last row of a gateway's chain. Positions count from 1; 0 is the end of an empty chain."""

    gateway: str
    position: int = 0
    row_hash: str = GENESIS


def row_hash(entry: AuditEntry, position: int, prev_hash: str) -> str:
    """The hash of an entry at its place, in hex. The entry is as `storable` returns it."""
    return hashlib.sha256(canonical(entry, position, prev_hash)).hexdigest()


def canonical(entry: AuditEntry, position: int, prev_hash: str) -> bytes:
    """Everything that a row says, as one JSON array without spaces in UTF-8; times in UTC with six decimals."""
    return orjson.dumps(
        [
            FORM,
            prev_hash,
            entry.gateway,
            position,
            entry.event_id,
            entry.timestamp.astimezone(UTC).isoformat(timespec="microseconds"),
            entry.endpoint,
            entry.method,
            entry.status,
            entry.outcome,
            entry.reason,
            entry.principal,
            entry.role,
            entry.credential_id,
            entry.ip,
            entry.user_agent,
            entry.request_id,
            entry.route,
            entry.policy_version,
        ]
    )
