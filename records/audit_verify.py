"""Whether the chains of the audit are whole: every row is looked at, and none is kept in memory."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, or_, select

from records.audit_chain import GENESIS, ChainEnd
from records.audit_entry import StoredEntry
from records.audit_pages import UnreadRow, read_page
from records.audit_walk import Finding, Flaw, Walk, at_row, gap
from records.database import Database
from records.tables import AuditChainRow, AuditRow

__all__ = ["Anchors", "AuditVerification", "Finding", "Flaw", "Verified", "Walk"]

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Anchors:
    """What is known of chains from elsewhere: `ends` that they had, and what was done to them on purpose.

    `checkpoints`: last rows that were removed. `erasures`: rows that say out of which others a person was taken.
    """

    ends: tuple[ChainEnd, ...] = ()
    checkpoints: tuple[ChainEnd, ...] = ()
    erasures: tuple[ChainEnd, ...] = ()

    def __add__(self, other: "Anchors") -> "Anchors":
        return Anchors(self.ends + other.ends, self.checkpoints + other.checkpoints, self.erasures + other.erasures)

    def of(self, gateway: str) -> Iterator[ChainEnd]:
        """All of one chain."""
        return (one for one in (*self.ends, *self.checkpoints, *self.erasures) if one.gateway == gateway)

    def gateways(self) -> frozenset[str]:
        """Whose chains they are of."""
        return frozenset(one.gateway for one in (*self.ends, *self.checkpoints, *self.erasures))


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at: `rows` from `first_position` to `end`. `unchecked` anchors name rows removed since.

    `erased`: rows out of which a person was taken, and which are what was left of them.
    """

    gateway: str
    rows: int
    first_position: int
    end: ChainEnd
    anchors: int
    unchecked: int
    erased: int = 0


@dataclass(frozen=True, slots=True)
class _Chain:
    """What the chain's own row says of it."""

    end: ChainEnd
    first_position: int = 1
    first_prev_hash: str = GENESIS
    known: bool = True


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
        named = list(known.of(gateway))
        own = {(one.position, one.row_hash) for one in named if one.position > 0}
        chain = await self._chain(gateway)
        beginning = ChainEnd(gateway, chain.first_position - 1, chain.first_prev_hash)
        if named and beginning.position > 0 and beginning not in known.checkpoints:
            yield gap(gateway, 1, beginning.position, Flaw.CUT, "gone, and no checkpoint says that they may be")
        checked = {place: digest for place, digest in own if place >= chain.first_position - 1}
        if len(checked) < sum(place >= chain.first_position - 1 for place, _ in own):
            yield Finding(gateway, Flaw.NOT_ANCHORED, None, None, "", "two anchors name different rows at one position")
        if checked.get(chain.first_position - 1, chain.first_prev_hash) != chain.first_prev_hash:
            yield Finding(
                gateway, Flaw.NOT_ANCHORED, chain.first_position, None, "", "does not follow what the anchor names"
            )
        vouched = frozenset(known.erasures) if named else None
        walk = Walk(gateway, chain.first_position, chain.first_prev_hash, checked, vouched)
        async for row in self._rows(gateway, chain.end.position):
            for finding in walk.take(row):
                yield finding
        for finding in walk.finish(chain.end, (place for place, _ in own)):
            yield finding
        if not chain.known:
            yield Finding(gateway, Flaw.TRUNCATED, None, None, "", "there is no record of where the chain ends")
        async for row in self._strangers(gateway):
            yield at_row(gateway, row, Flaw.INSERTED, "not written by the audit: it is no link of the chain")
        yield Verified(
            gateway, walk.rows, chain.first_position, chain.end, len(own), len(own) - len(checked), walk.erased
        )

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
