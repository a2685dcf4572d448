"""Rows that others make up: one that the database will never take must not keep the others from it for ever."""

from collections.abc import Mapping, Sequence

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from records.errors import REFUSED_BY_DATABASE


async def insert_acceptable(
    session: AsyncSession, table: type[DeclarativeBase], rows: Sequence[Mapping[str, object]]
) -> int:
    """Insert in the session's transaction, but for rows that the database refuses; how many those were.

    Halves are tried by themselves, so one bad row of n costs about 2 log n statements more.
    """
    if not rows:
        return 0
    try:
        async with session.begin_nested():
            await session.execute(insert(table), list(rows))
    except REFUSED_BY_DATABASE:
        if len(rows) == 1:
            return 1
        middle = len(rows) // 2
        first = await insert_acceptable(session, table, rows[:middle])
        return first + await insert_acceptable(session, table, rows[middle:])
    return 0
