"""Rows that come all the time, and go after theirs: by a moment, and by how many there are at most."""

from typing import Any, Final, Protocol

from sqlalchemy import delete, func, select
from sqlalchemy.orm import InstrumentedAttribute

from records.database import Database

# Rows of one transaction: writers wait while it lasts.
_STEP: Final = 10_000


class Numbered(Protocol):
    """A table whose rows are numbered as they come."""

    id: Any


async def prune(
    database: Database, rows: type[Numbered], moment: InstrumentedAttribute[float], before: float, most: int
) -> int:
    """Remove what came before a moment, and what is more than so many rows; how many that were."""
    async with database.reading() as session:
        newest = await session.scalar(select(func.max(rows.id))) or 0
        first = await session.scalar(select(rows.id).where(moment >= before).order_by(moment).limit(1))
    # Ids go up as time does, but for what lasted; the newest rows are the highest ids.
    bound = max(newest + 1 if first is None else first, newest - most + 1)
    gone = 0
    while True:
        some = select(rows.id).where(rows.id < bound).order_by(rows.id).limit(_STEP)
        step = delete(rows).where(rows.id.in_(some)).execution_options(synchronize_session=False)
        async with database.writing() as session:
            removed = int((await session.execute(step)).rowcount)  # type: ignore[attr-defined]
        gone += removed
        if removed < _STEP:
            return gone
