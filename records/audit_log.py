"""The durable audit of administration (R36): a batch in, rows out by what people ask for."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from records.audit_chain import ChainEnd, row_hash
from records.audit_entry import AuditEntry, StoredEntry, read_row, storable
from records.database import Database
from records.tables import AuditChainRow, AuditRow

__all__ = ["MAX_ROWS", "AuditEntry", "AuditLog", "AuditQuery", "ChainEnd", "StoredEntry"]

MAX_ROWS: Final = 1000
# How many names of events one statement asks for; drivers bound the parameters of a statement.
_NAMES: Final = 1000
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """What to look for; None is no condition. `since` is included, `until` is not. `before` continues a listing."""

    gateway: str | None = None
    principal: str | None = None
    request_id: str | None = None
    endpoint_prefix: str | None = None
    method: str | None = None
    status: int | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None
    limit: int = 100


class AuditLog:
    """The table `admin_audit_logs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, entries: Sequence[AuditEntry]) -> Mapping[str, ChainEnd]:
        """Append a batch, all of it or nothing; the ends of the chains it was for. On return the rows are on disk.

        Entries of one gateway are chained in their order, whoever else writes at the same time. An entry whose
        `event_id` is known already is left out.
        """
        by_gateway: dict[str, dict[str, AuditEntry]] = {}
        for entry in map(storable, entries):
            by_gateway.setdefault(entry.gateway, {}).setdefault(entry.event_id, entry)
        if not by_gateway:
            return {}
        async with self._database.writing() as session:
            # Always in one order, so that two writers never wait for each other.
            return {name: await self._append(session, name, by_gateway[name]) for name in sorted(by_gateway)}

    async def append(self, session: AsyncSession, entry: AuditEntry) -> ChainEnd:
        """Append one entry within a transaction that does more; the end of its chain."""
        kept = storable(entry)
        return await self._append(session, kept.gateway, {kept.event_id: kept})

    async def _append(self, session: AsyncSession, gateway: str, entries: Mapping[str, AuditEntry]) -> ChainEnd:
        end = await self._lock(session, gateway)
        known = await _known(session, tuple(entries))
        rows: list[dict[str, object]] = []
        for event_id, entry in entries.items():
            if event_id not in known:
                digest = row_hash(entry, end.position + 1, end.row_hash)
                link = {"position": end.position + 1, "prev_hash": end.row_hash, "row_hash": digest}
                rows.append(asdict(entry) | link)
                end = ChainEnd(gateway, end.position + 1, digest)
        if rows:
            await (await session.connection()).execute(self._database.insert_into(AuditRow), rows)
            moved = update(AuditChainRow).where(AuditChainRow.gateway == gateway)
            await session.execute(moved.values(position=end.position, row_hash=end.row_hash))
        return end

    async def _lock(self, session: AsyncSession, gateway: str) -> ChainEnd:
        """The end of a chain, to which nobody else appends until this transaction ends."""
        empty = ChainEnd(gateway)
        first = {"first_position": 1, "first_prev_hash": empty.row_hash}
        insert = self._database.insert_into(AuditChainRow).values(asdict(empty) | first)
        await session.execute(insert.on_conflict_do_nothing(index_elements=["gateway"]))
        chain = select(AuditChainRow.position, AuditChainRow.row_hash).where(AuditChainRow.gateway == gateway)
        said = ChainEnd(gateway, *(await session.execute(chain.with_for_update())).one())
        # Somebody who reached into the tables may have moved the end back, and that must not keep anybody from writing.
        # Nor must a row that was put at the end of all positions: no chain is longer than it has rows.
        others = (AuditRow.gateway == gateway, AuditRow.position > said.position)
        count = await session.scalar(select(func.count()).select_from(AuditRow).where(*others)) or 0
        last = (
            select(AuditRow.position, AuditRow.row_hash)
            .where(*others, AuditRow.position <= said.position + count)
            .order_by(AuditRow.position.desc())
            .limit(1)
        )
        beyond = (await session.execute(last)).one_or_none() if count else None
        return said if beyond is None else ChainEnd(gateway, beyond.position, beyond.row_hash or "")

    async def ends(self, gateway: str | None = None) -> Sequence[ChainEnd]:
        """Where the chains end, by gateway; of one gateway, or of all."""
        query = select(AuditChainRow).order_by(AuditChainRow.gateway)
        if gateway is not None:
            query = query.where(AuditChainRow.gateway == gateway)
        async with self._database.reading() as session:
            return [ChainEnd(row.gateway, row.position, row.row_hash) for row in await session.scalars(query)]

    async def beginnings(self, gateway: str | None = None) -> Sequence[ChainEnd]:
        """What the first rows follow, by gateway: position 0 where none was removed."""
        query = select(AuditChainRow).order_by(AuditChainRow.gateway)
        if gateway is not None:
            query = query.where(AuditChainRow.gateway == gateway)
        async with self._database.reading() as session:
            rows = await session.scalars(query)
            return [ChainEnd(row.gateway, row.first_position - 1, row.first_prev_hash) for row in rows]

    async def holds(self, end: ChainEnd) -> bool:
        """Whether the chain still leads over what was its end once; rows removed on purpose are believed."""
        row = select(AuditRow.row_hash).where(AuditRow.gateway == end.gateway, AuditRow.position == end.position)
        async with self._database.reading() as session:
            if end.position == 0 or await session.scalar(row) == end.row_hash:
                return True
            chain = await session.get(AuditChainRow, end.gateway)
        if chain is None or chain.first_position <= end.position:
            return False
        return chain.first_position - 1 > end.position or chain.first_prev_hash == end.row_hash

    async def find(self, query: AuditQuery) -> Sequence[StoredEntry]:
        """Rows that meet every condition, the newest first."""
        newest = _matching(query).order_by(AuditRow.id.desc()).limit(max(1, min(query.limit, MAX_ROWS)))
        async with self._database.reading() as session:
            return [read_row(row) for row in await session.scalars(newest)]

    async def scan(self, query: AuditQuery, after: int = 0) -> AsyncIterator[StoredEntry]:
        """All rows beyond row `after` that meet every condition, the oldest first; `limit` is none here."""
        while True:
            page = _matching(query).where(AuditRow.id > after).order_by(AuditRow.id).limit(_PAGE)
            async with self._database.reading() as session:
                rows = [read_row(row) for row in await session.scalars(page)]
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            after = rows[-1].row_id


def _matching(query: AuditQuery) -> Select[AuditRow]:
    conditions = {
        AuditRow.gateway: query.gateway,
        AuditRow.principal: query.principal,
        AuditRow.request_id: query.request_id,
        AuditRow.method: query.method,
        AuditRow.status: query.status,
        AuditRow.outcome: query.outcome,
    }
    select_ = select(AuditRow).where(*(column == value for column, value in conditions.items() if value is not None))
    if query.endpoint_prefix is not None:
        select_ = select_.where(AuditRow.endpoint.startswith(query.endpoint_prefix, autoescape=True))
    if query.since is not None:
        select_ = select_.where(AuditRow.timestamp >= query.since)
    if query.until is not None:
        select_ = select_.where(AuditRow.timestamp < query.until)
    if query.before is not None:
        select_ = select_.where(AuditRow.id < query.before)
    return select_


async def _known(session: AsyncSession, names: Sequence[str]) -> frozenset[str]:
    """Which of the events have a row already."""
    found: set[str] = set()
    for part in _parts(names):
        found.update(await session.scalars(select(AuditRow.event_id).where(AuditRow.event_id.in_(part))))
    return frozenset(found)


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), _NAMES):
        yield names[start : start + _NAMES]
