"""Usage of one caller, added up where it lies: of a month's rows a page gets a few hundred."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from records.database import Database
from records.tables import UsageRow


@dataclass(frozen=True, slots=True)
class CallerUsage:
    """Requests on one route with one result since `start`. `histograms`: those to add, with spaces between them.

    `credential`: the public id of the API key, "" where it was none.
    """

    start: int
    gateway: str
    route: str
    status: int
    credential: str
    requests: int
    histograms: str


async def usage_of_caller(database: Database, caller: str, since: int, until: int, step: int) -> Sequence[CallerUsage]:
    """What a caller did between two moments, by `step` seconds; times are POSIX seconds.

    Rows that have a caller are those of the scope `caller`: naming that too would lead SQLite to another index.
    """
    start = (UsageRow.start - UsageRow.start % step).label("bucket")
    by = (start, UsageRow.gateway, UsageRow.route, UsageRow.status, UsageRow.credential)
    query = (
        select(*by, func.sum(UsageRow.requests), func.aggregate_strings(UsageRow.histogram, " "))
        .where(UsageRow.caller == caller, UsageRow.start >= since, UsageRow.start < until)
        .group_by(*by)
    )
    async with database.reading() as session:
        found = (await session.execute(query)).all()
    return [
        # PostgreSQL adds integers up to decimals.
        CallerUsage(at, gateway, route, status, credential, int(requests), histograms or "")
        for at, gateway, route, status, credential, requests, histograms in found
    ]
