"""A person taken out of the audit's rows, so that the chains can still be verified and what is left be proven.

A row keeps its place and its hash, and loses who, from where and which path. Its hash no longer shows what it says; an
`ERASE` row, written to the same chain in the same transaction, has the hash of what is left of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from records.audit_chain import ChainEnd, row_hash
from records.audit_entry import AuditEntry, StoredEntry, read_row
from records.audit_erased import METHOD, MOST_ROWS, TAKEN, without_person
from records.audit_log import AuditLog
from records.database import Database
from records.tables import AuditChainRow, AuditRow


@dataclass(frozen=True, slots=True)
class Erased:
    """What was taken out of one chain, and the `ERASE` rows that say so."""

    gateway: str
    rows: int
    said: tuple[ChainEnd, ...]


class AuditErasure:
    """Takes a person out of the chains. `principal` and `pseudonym`: as rows have them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = AuditLog(database)

    async def rows(self, principal: str, pseudonym: str) -> Sequence[StoredEntry]:
        """What the audit has of a person, the oldest first."""
        query = select(AuditRow).where(_of(principal, pseudonym)).order_by(AuditRow.id)
        async with self._database.reading() as session:
            return [read_row(row) for row in await session.scalars(query)]

    async def erase(self, principal: str, pseudonym: str, operator: str, now: datetime) -> Sequence[Erased]:
        """Done in steps; where one fails, those before it have been done, and every chain is whole."""
        async with self._database.reading() as session:
            found = select(AuditRow.gateway).where(_of(principal, pseudonym), AuditRow.position.is_not(None)).distinct()
            gateways = sorted(await session.scalars(found))
        return [await self._chain(name, principal, pseudonym, operator, now) for name in gateways]

    async def _chain(self, gateway: str, principal: str, pseudonym: str, operator: str, now: datetime) -> Erased:
        count, said = 0, list[ChainEnd]()
        while True:
            async with self._database.writing() as session:
                await self._database.overwrite(session)
                # Whoever removes old rows waits, and so does whoever appends.
                await session.get(AuditChainRow, gateway, with_for_update=True)
                query = select(AuditRow).where(AuditRow.gateway == gateway, AuditRow.position.is_not(None))
                rows = await session.scalars(
                    query.where(_of(principal, pseudonym)).order_by(AuditRow.id).limit(MOST_ROWS)
                )
                places = [await _blank(session, read_row(row)) for row in rows.all()]
                if places:
                    note = AuditEntry(
                        timestamp=now, gateway=gateway, endpoint=f"apibank person erase {','.join(places)}",
                        method=METHOD, outcome="success", principal=f"operator:{operator}",
                        reason=f"{len(places)} rows",
                    )  # fmt: skip
                    said.append(await self._log.append(session, note))
                    count += len(places)
            if len(places) < MOST_ROWS:
                return Erased(gateway, count, tuple(said))


def _of(principal: str, pseudonym: str) -> ColumnElement[bool]:
    return or_(AuditRow.principal == principal, AuditRow.credential_id == pseudonym)


async def _blank(session: AsyncSession, row: StoredEntry) -> str:
    left = without_person(row.entry)
    change = update(AuditRow).where(AuditRow.id == row.row_id).values(TAKEN)
    await session.execute(change.execution_options(synchronize_session=False))
    return f"{row.position}:{row_hash(left, row.position or 0, row.prev_hash or '')}"
