"""Single requests, as Envoys told of them: looked up by whoever asks what became of one, and gone after their time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, select

from records.database import Database
from records.pruning import prune
from records.tables import AccessLogRow

_FIELDS: Final = tuple(column.name for column in AccessLogRow.__table__.columns)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests: all that meet everything that is said. Times in seconds since the epoch.

    `status`: one, or a class such as 4 for 400 to 499. `before`: only rows with a lower id, to page on.
    """

    since: float | None = None
    until: float | None = None
    gateway: str | None = None
    tenant: str | None = None
    caller: str | None = None
    credential: str | None = None
    route: str | None = None
    status: int | None = None
    request_id: str | None = None
    before: int | None = None


class RequestLog:
    """The table `access_log`, which `Usage.add` writes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: Wanted, count: int = 100) -> Sequence[Mapping[str, Any]]:
        """The newest first."""
        query = _wanted(select(AccessLogRow), wanted).order_by(AccessLogRow.id.desc()).limit(count)
        async with self._database.reading() as session:
            return [{name: getattr(row, name) for name in _FIELDS} for row in await session.scalars(query)]

    async def prune(self, before: float, most: int) -> int:
        """Remove what came before a moment, and what is more than so many rows; how many that were."""
        return await prune(self._database, AccessLogRow, AccessLogRow.at, before, most)


def _wanted(query: Select[Any], wanted: Wanted) -> Select[Any]:
    if wanted.since is not None:
        query = query.where(AccessLogRow.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AccessLogRow.at < wanted.until)
    if wanted.before is not None:
        query = query.where(AccessLogRow.id < wanted.before)
    if wanted.status is not None and wanted.status < 10:
        query = query.where(AccessLogRow.status.between(wanted.status * 100, wanted.status * 100 + 99))
    elif wanted.status is not None:
        query = query.where(AccessLogRow.status == wanted.status)
    for name in ("gateway", "tenant", "caller", "credential", "route", "request_id"):
        if (value := getattr(wanted, name)) is not None:
            column = getattr(AccessLogRow, name)
            query = query.where((column if _is_sought(name, wanted) else column.op("||")("")) == value)
    return query


def _is_sought(name: str, wanted: Wanted) -> bool:
    """Whether rows may be looked up by this column: SQLite, which knows no figures of them, might take a bad one."""
    if wanted.request_id is not None:
        # An id has the fewest rows.
        return name == "request_id"
    # A gateway has so many that the newest of all are looked through sooner than its own are put in order.
    is_bounded = any(one is not None for one in (wanted.since, wanted.until, wanted.caller, wanted.tenant))
    return name != "gateway" or is_bounded
