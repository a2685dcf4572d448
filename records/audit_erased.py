"""What is left of an audit's row when a person is taken out of it, and the row that says so."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from records.audit_entry import AuditEntry

ERASED: Final = "erased"
METHOD: Final = "ERASE"
# As many rows as one row can speak of, in its `endpoint`.
MOST_ROWS: Final = 45
TAKEN: Final = {"endpoint": "", "principal": ERASED, "credential_id": "", "ip": "", "user_agent": "", "request_id": ""}
# Of each: its position and the hash of what is left.
_PLACE: Final = re.compile(r"\b(\d{1,19}):([0-9a-f]{64})\b")


def without_person(entry: AuditEntry) -> AuditEntry:
    """What is left of an entry."""
    return replace(entry, **TAKEN)  # type: ignore[arg-type]  # all of them are texts


def places_of(entry: AuditEntry) -> Iterator[tuple[int, str]]:
    """Which rows an `ERASE` row speaks of: positions, and the hashes of what is left."""
    for found in _PLACE.finditer(entry.endpoint):
        yield int(found[1]), found[2]
