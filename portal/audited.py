"""Nothing is done that could not be written into the audit first."""

from collections.abc import Sequence
from typing import Final, Protocol

from portal.problems import Refused
from records.audit_entry import AuditEntry
from records.errors import LOST_DATABASE

# The outcome of a row that is written before anything is done.
INITIATED: Final = "initiated"


class AuditWriter(Protocol):
    """Rows of the audit (records.audit_log): written whole or not at all, and each under its name once."""

    async def write(self, entries: Sequence[AuditEntry]) -> object: ...


async def write_first(audit: AuditWriter, begun: AuditEntry) -> None:
    """Write a row ahead of what it tells of. Raises Refused where it cannot be written: then nothing shall be done."""
    try:
        await audit.write([begun])
    except LOST_DATABASE:
        raise Refused(503, "audit_unavailable", "The audit cannot be written, so nothing was done.") from None
