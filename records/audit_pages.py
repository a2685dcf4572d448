"""Rows of the audit as they are verified: one that nobody can read any more hides none of the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Select, select

from records.audit_entry import StoredEntry, read_row
from records.database import Database
from records.tables import AuditRow


@dataclass(frozen=True, slots=True)
class UnreadRow:
    """A row that holds what no row of ours ever did, such as a moment that is none. `event_id`: empty if unreadable."""

    row_id: int
    position: int | None
    event_id: str


async def read_page(database: Database, page: Select[AuditRow]) -> Sequence[StoredEntry | UnreadRow]:
    """The rows of one statement, in its order. Raises what the database raises when it cannot be asked."""
    try:
        async with database.reading() as session:
            return [read_row(row) for row in await session.scalars(page)]
    except Exception:  # noqa: BLE001 drivers have many words for a value that they cannot read
        return await _one_by_one(database, page)


async def _one_by_one(database: Database, page: Select[AuditRow]) -> Sequence[StoredEntry | UnreadRow]:
    places = page.with_only_columns(AuditRow.id, AuditRow.position, maintain_column_froms=True)
    async with database.reading() as session:
        found = [(row_id, position) for row_id, position in await session.execute(places)]
    return [await _read_one(database, row_id, position) for row_id, position in found]


async def _read_one(database: Database, row_id: int, position: int | None) -> StoredEntry | UnreadRow:
    try:
        async with database.reading() as session:
            return read_row((await session.scalars(select(AuditRow).where(AuditRow.id == row_id))).one())
    except Exception:  # noqa: BLE001
        # A database that has gone away raises here again: then it was not the row.
        async with database.reading() as session:
            (await session.scalars(select(AuditRow.id).where(AuditRow.id == row_id))).one()
    return UnreadRow(row_id, position, await _name_of(database, row_id))


async def _name_of(database: Database, row_id: int) -> str:
    try:
        async with database.reading() as session:
            return str((await session.scalars(select(AuditRow.event_id).where(AuditRow.id == row_id))).one())
    except Exception:  # noqa: BLE001 its name is what cannot be read
        return ""
