"""Whether the chains of the audit are whole: every row is looked at, and none is kept in memory."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Select, or_, select

from records.audit_chain import GENESIS, ChainEnd, row_hash
from records.audit_entry import StoredEntry
from records.audit_pages import UnreadRow, read_page
from records.database import Database
from records.tables import AuditChainRow, AuditRow

_PAGE: Final = 500


class Flaw(StrEnum):
    """What can be wrong with a chain."""

    EDITED = "edited"
    MISSING = "missing"
    MISLINKED = "mislinked"
    REORDERED = "reordered"
    INSERTED = "inserted"
    TRUNCATED = "truncated"
    CUT = "cut"
    NOT_ANCHORED = "not_anchored"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: at which position of which chain and, where there is one, in which row."""

    gateway: str
    flaw: Flaw
    position: int | None
    row_id: int | None
    event_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class Anchors:
    """What is known of chains from elsewhere: `ends` that they had, and `checkpoints`: last rows removed on purpose."""

    ends: tuple[ChainEnd, ...] = ()
    checkpoints: tuple[ChainEnd, ...] = ()

    def __add__(self, other: "Anchors") -> "Anchors":
        return Anchors(self.ends + other.ends, self.checkpoints + other.checkpoints)

    def gateways(self) -> frozenset[str]:
        """Whose chains they are of."""
        return frozenset(one.gateway for one in (*self.ends, *self.checkpoints))


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at: `rows` from `first_position` to `end`. `unchecked` anchors name rows removed since."""

    gateway: str
    rows: int
    first_position: int
    end: ChainEnd
    anchors: int
    unchecked: int


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the chain's own row says of it."""

    end: ChainEnd
    first_position: int = 1
    first_prev_hash: str = GENESIS
    known: bool = True


class Walk:
    """One chain, row by row in the order of positions. Each step returns what is wrong there."""

    def __init__(self, gateway: str, first_position: int, first_prev_hash: str, anchors: Mapping[int, str]) -> None:
        """`anchors`: hashes that rows are known to have had, by position."""
        self.rows = 0
        self.last = ChainEnd(gateway, first_position - 1, first_prev_hash)
        self._anchors = anchors
        self._row_id = 0
        self._hash_known = True

    def take(self, row: StoredEntry | UnreadRow) -> Iterator[Finding]:
        """Look at the next row."""
        self.rows += 1
        gateway = self.last.gateway
        position, expected = row.position or 0, self.last.position + 1
        if position < expected:
            yield _at(gateway, row, Flaw.INSERTED, f"before the chain's first position, {expected}")
            return
        if position > expected:
            yield _gap(gateway, expected, position - 1, Flaw.MISSING, "missing")
        read = row if isinstance(row, StoredEntry) else None
        if read is not None and position == expected and self._hash_known and read.prev_hash != self.last.row_hash:
            what = f"does not follow the row at {expected - 1}: one of the two was replaced"
            yield _at(gateway, row, Flaw.MISLINKED, what)
        if read is None:
            yield _at(gateway, row, Flaw.EDITED, "it holds what cannot be read, and was never written")
        elif read.row_hash != _hash_of(read, position):
            yield _at(gateway, row, Flaw.EDITED, "its content is not what its hash was made of")
        if row.row_id <= self._row_id:
            yield _at(gateway, row, Flaw.REORDERED, "its id is below that of a row before it")
        digest = None if read is None else read.row_hash
        anchored = self._anchors.get(position)
        if anchored is not None and anchored != digest and read is not None:
            yield _at(gateway, row, Flaw.NOT_ANCHORED, "not the row that the anchor names")
        self._row_id = max(self._row_id, row.row_id)
        self.last = ChainEnd(gateway, position, digest or "")
        # One that lost its hash is one finding, and not another one at the row after it.
        self._hash_known = digest is not None

    def finish(self, end: ChainEnd, anchors: Iterable[int]) -> Iterator[Finding]:
        """After the last row: whether more was there once."""
        latest = max([end.position, *anchors])
        if self.rows == 0 and self.last.position > end.position:
            detail = "the chain is said to begin beyond its own end"
            yield Finding(end.gateway, Flaw.MISLINKED, self.last.position + 1, None, "", detail)
        elif self.last.position < latest:
            detail = "missing at the end" if latest == end.position else "missing at the end, an anchor says"
            yield _gap(end.gateway, self.last.position + 1, latest, Flaw.TRUNCATED, detail)
        elif self.last.position == end.position and self.last.row_hash != end.row_hash:
            detail = "the chain's end is said to have another hash than its last row"
            yield Finding(end.gateway, Flaw.MISLINKED, end.position, None, "", detail)


class AuditVerification:
    """Looks through the chains while others write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def gateways(self) -> frozenset[str]:
        """Whose chains there are, or whose rows."""
        async with self._database.reading() as session:
            rows = await session.scalars(select(AuditRow.gateway).distinct())
            chains = await session.scalars(select(AuditChainRow.gateway))
            return frozenset(rows) | frozenset(chains)

    async def verify(self, gateway: str, anchors: Anchors | None = None) -> AsyncIterator[Finding | Verified]:
        """Everything that is wrong with one gateway's chain, and at last what was looked at.

        Anchors of other gateways are passed over. Where there are any, rows before the first are removed on purpose
        only if a checkpoint says so.
        """
        known = anchors or Anchors()
        named = [one for one in (*known.ends, *known.checkpoints) if one.gateway == gateway]
        own = {(one.position, one.row_hash) for one in named if one.position > 0}
        chain = await self._chain(gateway)
        beginning = ChainEnd(gateway, chain.first_position - 1, chain.first_prev_hash)
        if named and beginning.position > 0 and beginning not in known.checkpoints:
            yield _gap(gateway, 1, beginning.position, Flaw.CUT, "gone, and no checkpoint says that they may be")
        checked = {place: digest for place, digest in own if place >= chain.first_position - 1}
        if len(checked) < sum(place >= chain.first_position - 1 for place, _ in own):
            yield Finding(gateway, Flaw.NOT_ANCHORED, None, None, "", "two anchors name different rows at one position")
        if checked.get(chain.first_position - 1, chain.first_prev_hash) != chain.first_prev_hash:
            yield Finding(
                gateway, Flaw.NOT_ANCHORED, chain.first_position, None, "", "does not follow what the anchor names"
            )
        walk = Walk(gateway, chain.first_position, chain.first_prev_hash, checked)
        async for row in self._rows(gateway, chain.end.position):
            for finding in walk.take(row):
                yield finding
        for finding in walk.finish(chain.end, (place for place, _ in own)):
            yield finding
        if not chain.known:
            yield Finding(gateway, Flaw.TRUNCATED, None, None, "", "there is no record of where the chain ends")
        async for row in self._strangers(gateway):
            yield _at(gateway, row, Flaw.INSERTED, "not written by the audit: it is no link of the chain")
        yield Verified(gateway, walk.rows, chain.first_position, chain.end, len(own), len(own) - len(checked))

    async def _chain(self, gateway: str) -> _Chain:
        async with self._database.reading() as session:
            row = await session.get(AuditChainRow, gateway)
            if row is None:
                return _Chain(ChainEnd(gateway), known=not await session.scalar(_any_of(gateway)))
            return _Chain(ChainEnd(gateway, row.position, row.row_hash), row.first_position, row.first_prev_hash)

    async def _rows(self, gateway: str, end: int) -> AsyncIterator[StoredEntry | UnreadRow]:
        """What is in place up to a position, in the order of positions."""
        after: int | None = None
        while True:
            page = select(AuditRow).where(AuditRow.gateway == gateway, AuditRow.position <= end)
            if after is not None:
                page = page.where(AuditRow.position > after)
            rows = await read_page(self._database, page.order_by(AuditRow.position).limit(_PAGE))
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            after = rows[-1].position

    async def _strangers(self, gateway: str) -> AsyncIterator[StoredEntry | UnreadRow]:
        """Rows that are no link, or stand beyond the end; asked in one statement, since rows are being written."""
        after = 0
        beyond = or_(
            AuditRow.position.is_(None), AuditChainRow.gateway.is_(None), AuditRow.position > AuditChainRow.position
        )
        while True:
            page = (
                select(AuditRow)
                .outerjoin(AuditChainRow, AuditChainRow.gateway == AuditRow.gateway)
                .where(AuditRow.gateway == gateway, beyond, AuditRow.id > after)
                .order_by(AuditRow.id)
                .limit(_PAGE)
            )
            rows = await read_page(self._database, page)
            for row in rows:
                yield row
            if len(rows) < _PAGE:
                return
            after = rows[-1].row_id


def _any_of(gateway: str) -> Select[int]:
    return select(AuditRow.id).where(AuditRow.gateway == gateway).limit(1)


def _hash_of(row: StoredEntry, position: int) -> str | None:
    """None where the row holds what can be read and yet never was an entry's."""
    try:
        return row_hash(row.entry, position, row.prev_hash or "")
    except (TypeError, ValueError, OverflowError, AttributeError):
        return None


def _at(gateway: str, row: StoredEntry | UnreadRow, flaw: Flaw, detail: str) -> Finding:
    event_id = row.entry.event_id if isinstance(row, StoredEntry) else row.event_id
    return Finding(gateway, flaw, row.position, row.row_id, event_id, detail)


def _gap(gateway: str, first: int, last: int, flaw: Flaw, detail: str) -> Finding:
    which = f"the row at {first} is" if first == last else f"{last - first + 1} rows, {first} to {last}, are"
    return Finding(gateway, flaw, first, None, "", f"{which} {detail}")
