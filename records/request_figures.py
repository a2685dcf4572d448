"""What the last moments were like, by the log of requests: how many there were, how many failed, how long they took."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from records.database import Database
from records.tables import AccessLogRow

_MOST: Final = 0.95


@dataclass(frozen=True, slots=True)
class RecentFigures:
    """`failed`: answered 5xx, or not at all though the client waited. `p95`: 95 of 100 took at most so long, in
    milliseconds; None where none was timed. `newest`: when the last of them came, in seconds since the epoch."""

    requests: int
    failed: int
    p95: float | None
    newest: float | None


class RequestFigures:
    """Of the table `access_log`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def between(self, gateway: str, since: float, until: float) -> RecentFigures:
        """Of the requests that came to a gateway from `since` on and before `until`, in seconds since the epoch."""
        within = and_(AccessLogRow.gateway == gateway, AccessLogRow.at >= since, AccessLogRow.at < until)
        figures = select(
            func.count(),
            func.coalesce(func.sum(case((_failed(), 1), else_=0)), 0),
            func.count(AccessLogRow.duration),
            func.max(AccessLogRow.at),
        ).where(within)
        timed = select(AccessLogRow.duration).where(within, AccessLogRow.duration.is_not(None))
        async with self._database.reading() as session:
            requests, failed, count, newest = (await session.execute(figures)).one()
            rank = timed.order_by(AccessLogRow.duration).offset(max(ceil(_MOST * count) - 1, 0)).limit(1)
            p95 = await session.scalar(rank) if count else None
        return RecentFigures(int(requests), int(failed), p95, newest)


def _failed() -> ColumnElement[bool]:
    # As telemetry counts it: who went away without waiting (DC) was not failed.
    went_away = ("," + AccessLogRow.flags + ",").contains(",DC,")
    return or_(AccessLogRow.status >= 500, and_(AccessLogRow.status == 0, ~went_away))
