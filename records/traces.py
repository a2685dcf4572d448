"""Traced requests, span by span: the newest of them, for whoever asks where one spent its time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select

from records.database import Database
from records.pruning import prune
from records.salvage import insert_acceptable
from records.tables import SpanRow

# Of one trace; a client that names its own may make one of everything that it sends.
MOST_SPANS: Final = 500
_FIELDS: Final = tuple(column.name for column in SpanRow.__table__.columns)


@dataclass(frozen=True, slots=True)
class WantedTraces:
    """Which traces, by the span that each begins with: all that meet everything that is said.

    `least`: milliseconds that it took. `status`: one, or a class such as 5 for 500 to 599. `before`: lower ids only.
    """

    request_id: str | None = None
    service: str | None = None
    least: float | None = None
    status: int | None = None
    before: int | None = None


class Traces:
    """The table `spans`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, spans: Sequence[Mapping[str, object]]) -> int:
        """All that the database can hold are written, or none; how many it cannot."""
        async with self._database.writing() as session:
            return await insert_acceptable(session, SpanRow, spans)

    async def find(self, wanted: WantedTraces, count: int = 50) -> Sequence[Mapping[str, Any]]:
        """Of each trace the span that it begins with, the newest first."""
        query = select(SpanRow).where(SpanRow.edge.is_(True)).order_by(SpanRow.id.desc()).limit(count)
        if wanted.request_id is not None:
            query = query.where(SpanRow.request_id == wanted.request_id)
        if wanted.service is not None:
            query = query.where(SpanRow.service == wanted.service)
        if wanted.least is not None:
            query = query.where(SpanRow.duration >= wanted.least)
        if wanted.status is not None and wanted.status < 10:
            query = query.where(SpanRow.status.between(wanted.status * 100, wanted.status * 100 + 99))
        elif wanted.status is not None:
            query = query.where(SpanRow.status == wanted.status)
        if wanted.before is not None:
            query = query.where(SpanRow.id < wanted.before)
        async with self._database.reading() as session:
            return [_told(row) for row in await session.scalars(query)]

    async def spans(self, trace_id: str) -> Sequence[Mapping[str, Any]]:
        """A trace, in the order in which its spans began; empty where nobody knows it."""
        query = select(SpanRow).where(SpanRow.trace_id == trace_id).order_by(SpanRow.start, SpanRow.id)
        async with self._database.reading() as session:
            return [_told(row) for row in await session.scalars(query.limit(MOST_SPANS))]

    async def prune(self, before: float, most: int) -> int:
        """Remove what began before a moment, and what is more than so many spans; how many that were."""
        return await prune(self._database, SpanRow, SpanRow.start, before, most)


def _told(row: SpanRow) -> Mapping[str, Any]:
    return {name: getattr(row, name) for name in _FIELDS}
