"""Rows that come all the time, and go after their time: by a moment, and by how many there are at most."""

from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, delete, func, select
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
    # Each by itself: no id says of a moment what came before it, as what lasted long is told late.
    return await _remove(database, rows, moment < before, moment) + await _remove(
        database, rows, rows.id < newest - most + 1, rows.id
    )


async def _remove(
    database: Database, rows: type[Numbered], which: ColumnElement[bool], order: InstrumentedAttribute[Any]
) -> int:
    """`order`: a column with an index, so that a step reads no more than it removes."""
    gone = 0
    while True:
        some = select(rows.id).where(which).order_by(order).limit(_STEP)
        step = delete(rows).where(rows.id.in_(some)).execution_options(synchronize_session=False)
        async with database.writing() as session:
            removed = int((await session.execute(step)).rowcount)  # type: ignore[attr-defined]
        gone += removed
        if removed < _STEP:
            return gone
