"""The oldest rows of the audit, removed so that the rest of a chain can still be verified."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.tables import AuditChainRow, AuditRow

# Rows of one transaction: writers wait while it lasts.
_STEP: Final = 5000


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed, and where the chain begins now."""

    gateway: str
    removed: int
    first_position: int
    first_prev_hash: str


class AuditRetention:
    """Removes rows from the beginning of a chain alone; what it begins with then is kept as its checkpoint."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def prune(self, gateway: str, before: datetime) -> Pruned | None:
        """Remove the rows before the first that is of `before` or later. None where there is no such chain.

        Done in steps; where one fails, those before it have been done, and the chain is whole.
        """
        removed = 0
        while True:
            async with self._database.writing() as session:
                chain = await session.get(AuditChainRow, gateway, with_for_update=True)
                if chain is None:
                    return None
                keep = await self._first_kept(session, chain, before)
                step = min(keep, chain.first_position + _STEP)
                if step > chain.first_position:
                    removed += await self._remove(session, chain, step)
                if step == keep:
                    return Pruned(gateway, removed, chain.first_position, chain.first_prev_hash)

    async def _first_kept(self, session: AsyncSession, chain: AuditChainRow, before: datetime) -> int:
        kept = select(func.min(AuditRow.position)).where(
            AuditRow.gateway == chain.gateway, AuditRow.timestamp >= before, AuditRow.position >= chain.first_position
        )
        return await session.scalar(kept) or chain.position + 1

    async def _remove(self, session: AsyncSession, chain: AuditChainRow, keep: int) -> int:
        """Remove what is before a position. Its predecessor's hash stays behind, to verify what is kept."""
        last = await session.scalar(
            select(AuditRow.row_hash).where(AuditRow.gateway == chain.gateway, AuditRow.position == keep - 1)
        )
        old = (AuditRow.gateway == chain.gateway, AuditRow.position < keep)
        count = await session.scalar(select(func.count()).select_from(AuditRow).where(*old)) or 0
        await session.execute(delete(AuditRow).where(*old))
        chain.first_position, chain.first_prev_hash = keep, last or ""
        return count
