"""What became live when, by whom and why: every change of a gateway's policy, with the text of its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from sqlalchemy import Select, delete, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from records.change_claims import Claim, ClaimedError, claimed
from records.database import Database
from records.tables import ChangeClaimRow, PolicyHistoryRow

MAX_ROWS: Final = 1000
# What PostgreSQL's INTEGER holds.
_MOST_REVISIONS: Final = 2**31 - 1
# Any number that nothing else on the server locks by: the first bytes of SHA-256("apibank policy history").
_ADVISORY_LOCK: Final = 0x3A91_5F0E_C27D_8846


class Change(StrEnum):
    """How a change came: a file was saved, or somebody applied it, or took one back."""

    FILE = "file"
    APPLY = "apply"
    ROLLBACK = "rollback"


class Result(StrEnum):
    """What became of a change. `running` is the only one that is not final."""

    RUNNING = "running"
    LIVE = "live"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    HALTED = "halted"
    ABANDONED = "abandoned"


# Wholly, or but for what was rolled back.
EVER_LIVE: Final = (Result.LIVE, Result.ROLLED_BACK)


@dataclass(frozen=True, slots=True)
class Entry:
    """A change to record. `version` is the effective policy's; `text` the gateway's file, without overlays."""

    gateway: str
    version: str
    text: str
    author: str
    message: str
    source: Change
    at: datetime
    result: Result
    detail: str = ""
    canary_percent: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry and its number: revisions count up over all gateways."""

    revision: int
    entry: Entry


class PolicyHistory:
    """The table `policy_history`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: Entry) -> int:
        """Append a change; returns its revision."""
        async with self._database.writing() as session:
            return await _added(session, entry)

    async def begin(self, entry: Entry, holder: str) -> int:
        """Append a change that `holder` begins to make; returns its revision.

        Raises ClaimedError while another process makes one of the same gateway: `ChangeClaims` says how it ends.
        """
        async with self._database.writing() as session:
            revision = await _added(session, entry)
            if await claimed(session, self._database, Claim(entry.gateway, holder, revision)):
                return revision
            other = await session.get(ChangeClaimRow, entry.gateway)
            raise ClaimedError(entry.gateway, None if other is None else other.revision)

    async def add_live(self, entry: Entry) -> int:
        """Append a change that is live, unless this version is the gateway's newest live one already.

        Returns the revision of the one or the other: replicas that see the same file record it once.
        """
        async with self._database.writing() as session:
            if not self._database.sqlite:
                await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
            live = PolicyHistoryRow.result.in_([Result.LIVE, Result.ROLLED_BACK])
            newest = await session.scalar(_newest(entry.gateway).where(live).limit(1))
            if newest is not None and newest.version == entry.version:
                return newest.revision
            # Another replica applies it, and has put the file there.
            running = (PolicyHistoryRow.result == Result.RUNNING.value) & (PolicyHistoryRow.version == entry.version)
            applied = await session.scalar(_newest(entry.gateway).where(running).limit(1))
            if applied is not None:
                return applied.revision
            return await _added(session, entry)

    async def conclude(self, revision: int, result: Result, detail: str = "") -> None:
        """Say what became of a change; nobody claims it any more."""
        values = {"result": result.value, "detail": _storable(detail)}
        async with self._database.writing() as session:
            await session.execute(delete(ChangeClaimRow).where(ChangeClaimRow.revision == revision))
            await session.execute(update(PolicyHistoryRow).where(PolicyHistoryRow.revision == revision).values(values))

    async def abandon_running(self, gateways: Sequence[str], detail: str) -> Sequence[Recorded]:
        """Close what a process has left unfinished that has ended; returns those changes.

        What somebody claims is being made (`records.change_claims`), and stays.
        """
        claimed = select(ChangeClaimRow.revision)
        running = (
            (PolicyHistoryRow.result == Result.RUNNING.value)
            & PolicyHistoryRow.gateway.in_(gateways)
            & PolicyHistoryRow.revision.not_in(claimed)
        )
        async with self._database.writing() as session:
            found = [_read(row) for row in await session.scalars(select(PolicyHistoryRow).where(running))]
            abandoned = PolicyHistoryRow.revision.in_([one.revision for one in found])
            await session.execute(
                update(PolicyHistoryRow).where(abandoned).values(result=Result.ABANDONED.value, detail=detail)
            )
            return found

    async def find(self, revision: int) -> Recorded | None:
        if not 0 < revision <= _MOST_REVISIONS:
            return None
        async with self._database.reading() as session:
            row = await session.get(PolicyHistoryRow, revision)
            return None if row is None else _read(row)

    async def listing(
        self, gateway: str | None = None, limit: int = 20, before: int | None = None
    ) -> Sequence[Recorded]:
        """The newest first; `before`: lower revisions only."""
        query = _newest(gateway)
        if before is not None:
            query = query.where(PolicyHistoryRow.revision < before)
        async with self._database.reading() as session:
            rows = await session.scalars(query.limit(max(1, min(limit, MAX_ROWS))))
            return [_read(row) for row in rows]

    async def of_version(self, prefix: str, gateway: str | None = None) -> Sequence[Recorded]:
        """Of what was ever live the newest change to each version that begins so, the newest first."""
        begins = PolicyHistoryRow.version.startswith(prefix, autoescape=True)
        query = _newest(gateway).where(begins & PolicyHistoryRow.result.in_(EVER_LIVE))
        async with self._database.reading() as session:
            rows = [_read(row) for row in await session.scalars(query.limit(MAX_ROWS))]
        newest: dict[tuple[str, str], Recorded] = {}
        for row in rows:
            newest.setdefault((row.entry.gateway, row.entry.version), row)
        return list(newest.values())

    async def newest_live(self, gateways: Sequence[str]) -> Recorded | None:
        """The change of these gateways that became live last, wholly or but for what was rolled back."""
        live = PolicyHistoryRow.result.in_(EVER_LIVE) & PolicyHistoryRow.gateway.in_(gateways)
        async with self._database.reading() as session:
            row = await session.scalar(_newest(None).where(live).limit(1))
            return None if row is None else _read(row)

    async def live_before(self, gateway: str, version: str) -> Recorded | None:
        """The newest change that was live with another version than this one."""
        live = (PolicyHistoryRow.result == Result.LIVE.value) & (PolicyHistoryRow.version != version)
        async with self._database.reading() as session:
            row = await session.scalar(_newest(gateway).where(live).limit(1))
            return None if row is None else _read(row)


def _newest(gateway: str | None) -> Select[PolicyHistoryRow]:
    query = select(PolicyHistoryRow).order_by(PolicyHistoryRow.revision.desc())
    return query if gateway is None else query.where(PolicyHistoryRow.gateway == gateway)


async def _added(session: AsyncSession, entry: Entry) -> int:
    row = _row(entry)
    session.add(row)
    await session.flush()
    return row.revision


def _row(entry: Entry) -> PolicyHistoryRow:
    return PolicyHistoryRow(
        gateway=entry.gateway,
        version=entry.version,
        text=_storable(entry.text),
        author=_storable(entry.author)[:128],
        message=_storable(entry.message),
        source=entry.source.value,
        at=entry.at,
        result=entry.result.value,
        detail=_storable(entry.detail),
        canary_percent=entry.canary_percent,
    )


def _storable(text: str) -> str:
    # PostgreSQL stores no U+0000.
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _read(row: PolicyHistoryRow) -> Recorded:
    entry = Entry(
        gateway=row.gateway,
        version=row.version,
        text=row.text,
        author=row.author,
        message=row.message,
        source=Change(row.source),
        at=row.at,
        result=Result(row.result),
        detail=row.detail,
        canary_percent=row.canary_percent,
    )
    return Recorded(row.revision, entry)
