"""Usage as rows that add up: minutes become hours, hours become days, and no request is counted twice on the way.

A row says how many requests there were since `start` for the length of its grain. Rows of one key may be many: whoever
reads adds them, and rolling up merges them. Each request is in rows twice, by scope: among all of its gateway, which
costs little however many callers there are, and among those of its caller.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import RowMapping, Select, delete, func, insert, select

from records.database import Database
from records.salvage import insert_acceptable
from records.tables import AccessLogRow, UsageRow

MINUTE: Final = 60
HOUR: Final = 3_600
DAY: Final = 86_400
# Of rows as they come: several of one key in a minute, one for each time that telemetry wrote.
SECOND: Final = 1
# After so many seconds a minute is over for whoever tells of it: what comes later is added all the same.
_OVER: Final = MINUTE

# Rows of one transaction: writers wait while it lasts.
_STEP: Final = 20_000

# Adds histograms, as the text that they are kept as.
Merge = Callable[[Sequence[str]], str]


class Scope(StrEnum):
    ALL = "all"
    CALLER = "caller"


class Key(NamedTuple):
    """What rows have in common that are one. Times in seconds since the epoch."""

    start: int
    scope: Scope
    gateway: str
    route: str
    caller: str
    tenant: str
    tier: str
    status: int
    credential: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """`duration`: the sum, in milliseconds. `histogram`: as its text."""

    requests: int
    failed: int
    octets_in: int
    octets_out: int
    duration: float
    histogram: str


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long rows stay as fine as they are, in seconds; days go after the last of them.

    As fine as pages show them: a day by the hour, a week by six hours, a month by the day. One caller with many routes,
    results and keys has a row for each of them in each minute, and every page of that caller adds them up.
    """

    minutes: int = 2 * HOUR
    hours: int = 8 * DAY
    days: int = 400 * DAY


class Usage:
    """The table `usage`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, rows: Mapping[Key, Counts], requests: Sequence[Mapping[str, object]] = ()) -> int:
        """Minutes, and the requests themselves as rows of `records.request_log`.

        All that the database can hold are written, or none; how many rows it cannot.
        """
        async with self._database.writing() as session:
            minutes = [_row(SECOND, key, counts) for key, counts in rows.items()]
            refused = await insert_acceptable(session, UsageRow, minutes)
            return refused + await insert_acceptable(session, AccessLogRow, requests)

    async def sums(
        self, since: int, until: int, by: Sequence[str], *, step: int | None = None, **which: object
    ) -> Sequence[Mapping[str, Any]]:
        """What is between two moments, added up by these columns, and by `step` seconds where it is given.

        `which`: values of columns, among them `scope`. The result has the columns, `start` with a step, and the sums
        of requests, failed, octets_in, octets_out, duration.
        """
        columns = [getattr(UsageRow, name) for name in by]
        if step is not None:
            columns.insert(0, UsageRow.start - UsageRow.start % step)
        names = ([] if step is None else ["start"]) + list(by)
        labelled = [column.label(name) for column, name in zip(columns, names, strict=True)]
        figures = [
            func.coalesce(func.sum(getattr(UsageRow, name)), 0).label(name)
            for name in ("requests", "failed", "octets_in", "octets_out", "duration")
        ]
        query = _within(select(*labelled, *figures), since, until, which).group_by(*labelled).order_by(*labelled)
        async with self._database.reading() as session:
            return [_plain(row) for row in (await session.execute(query)).mappings()]

    async def histograms(
        self, since: int, until: int, by: Sequence[str], **which: object
    ) -> Mapping[tuple[Any, ...], Sequence[str]]:
        """By the values of these columns, the histograms to add."""
        columns = [getattr(UsageRow, name) for name in by]
        query = _within(select(*columns, UsageRow.histogram), since, until, which)
        found: dict[tuple[Any, ...], list[str]] = {}
        async with self._database.reading() as session:
            for *values, histogram in await session.execute(query):
                found.setdefault(tuple(values), []).append(histogram)
        return found

    async def roll_up(self, now: int, merge: Merge, kept: Kept | None = None) -> int:
        """Make minutes of what came, hours of old minutes and days of old hours, and let go of old days.

        The result is how many rows that took away.

        Several processes may do it at a time: each row is taken by one of them.
        """
        kept = kept or Kept()
        gone = await self._coarsen(SECOND, MINUTE, now - _OVER, merge)
        gone += await self._coarsen(MINUTE, HOUR, now - kept.minutes, merge)
        gone += await self._coarsen(HOUR, DAY, now - kept.hours, merge)
        old = delete(UsageRow).where(UsageRow.grain == DAY, UsageRow.start < now - kept.days)
        async with self._database.writing() as session:
            removed = await session.execute(old.execution_options(synchronize_session=False))
            return gone + int(removed.rowcount)  # type: ignore[attr-defined]

    async def _coarsen(self, grain: int, coarser: int, before: int, merge: Merge) -> int:
        # Only what is over as a whole: of an hour whose end is not old enough, nothing.
        bound, gone = before - before % coarser, 0
        while True:
            async with self._database.writing() as session:
                first = select(func.min(UsageRow.start)).where(UsageRow.grain == grain, UsageRow.start < bound)
                start = await session.scalar(first)
                if start is None:
                    return gone
                begin = start - start % coarser
                of_it = (UsageRow.grain == grain) & (UsageRow.start >= begin) & (UsageRow.start < begin + coarser)
                # By their ids: whatever is not returned is not gone.
                some = select(UsageRow.id).where(of_it).limit(_STEP)
                taken = delete(UsageRow).where(UsageRow.id.in_(some)).returning(UsageRow)
                rows = (await session.scalars(taken.execution_options(synchronize_session=False))).all()
                if not rows:
                    # Another process was quicker: look again at what is left.
                    continue
                sums: dict[Key, list[UsageRow]] = {}
                for row in rows:
                    sums.setdefault(_key(row, begin), []).append(row)
                await session.execute(
                    insert(UsageRow), [_row(coarser, key, _added(several, merge)) for key, several in sums.items()]
                )
                gone += len(rows) - len(sums)


def _within(query: Select[Any], since: int, until: int, which: Mapping[str, object]) -> Select[Any]:
    query = query.where(UsageRow.start >= since, UsageRow.start < until)
    for name, value in which.items():
        query = query.where(getattr(UsageRow, name) == value)
    return query


def _plain(row: RowMapping) -> Mapping[str, Any]:
    # PostgreSQL adds integers up to decimals.
    whole = ("requests", "failed", "octets_in", "octets_out")
    return {**row, **{name: int(row[name]) for name in whole}}


def _row(grain: int, key: Key, counts: Counts) -> dict[str, object]:
    return {"grain": grain, **key._asdict(), **asdict(counts)}


def _key(row: UsageRow, start: int) -> Key:
    scope = Scope(row.scope)
    return Key(start, scope, row.gateway, row.route, row.caller, row.tenant, row.tier, row.status, row.credential)


def _added(rows: Sequence[UsageRow], merge: Merge) -> Counts:
    return Counts(
        requests=sum(row.requests for row in rows),
        failed=sum(row.failed for row in rows),
        octets_in=sum(row.octets_in for row in rows),
        octets_out=sum(row.octets_out for row in rows),
        duration=sum(row.duration for row in rows),
        histogram=merge([row.histogram for row in rows]),
    )
