"""Who makes a change of a gateway's policy now: one process at a time, whichever of those that share the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.errors import RecordsError
from records.tables import ChangeClaimRow

# A claim that was not renewed for so long is one of a process that has ended: longer than a call may wait for a
# database that is busy.
LAPSE_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Claim:
    """`holder`: the process, by a name that no other has. `revision`: the change, in the history."""

    gateway: str
    holder: str
    revision: int


class ClaimedError(RecordsError):
    """Another process makes a change of the gateway. `revision`: which."""

    def __init__(self, gateway: str, revision: int | None) -> None:
        self.revision = revision
        super().__init__(f"{gateway}: revision {revision} by another control plane")


class ChangeClaims:
    """The table `change_claims`. A claim is taken with `PolicyHistory.begin`, and gone with `PolicyHistory.conclude`.

    Whoever holds one renews it more often than every `LAPSE_SECONDS`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def renew(self, claim: Claim) -> bool:
        """Whether it still stands: False where it has lapsed and somebody has given it up."""
        async with self._database.writing() as session:
            renewed = update(ChangeClaimRow).where(_is(claim)).values(seen_at=self._database.clock)
            found = renewed.returning(ChangeClaimRow.gateway).execution_options(synchronize_session=False)
            return bool((await session.scalars(found)).all())

    async def held(self) -> Sequence[Claim]:
        """Those that stand."""
        async with self._database.reading() as session:
            rows = await session.scalars(select(ChangeClaimRow).where(~_lapsed(self._database)))
            return [Claim(row.gateway, row.holder, row.revision) for row in rows]

    async def give_up_lapsed(self, holder: str) -> Sequence[Claim]:
        """Take away those of processes that have ended; returns them. Of several that ask, one gets each.

        `holder`: who asks, who has not ended.
        """
        lapsed = _lapsed(self._database) & (ChangeClaimRow.holder != holder)
        async with self._database.reading() as session:
            # Most of the time there is none, and nobody is kept from writing for that.
            if (await session.scalars(select(ChangeClaimRow.gateway).where(lapsed))).first() is None:
                return ()
        gone = (
            delete(ChangeClaimRow)
            .where(lapsed)
            .returning(ChangeClaimRow.gateway, ChangeClaimRow.holder, ChangeClaimRow.revision)
            .execution_options(synchronize_session=False)
        )
        async with self._database.writing() as session:
            return [Claim(*row) for row in await session.execute(gone)]


async def claimed(session: AsyncSession, database: Database, claim: Claim) -> bool:
    """Take the gateway's claim in this transaction. The holder's own gives way: it is about to be concluded."""
    values = {"holder": claim.holder, "revision": claim.revision, "seen_at": database.clock}
    insert = database.insert_into(ChangeClaimRow).values(gateway=claim.gateway, **values)
    taken = insert.on_conflict_do_update(
        index_elements=["gateway"],
        set_=values,
        where=ChangeClaimRow.holder == claim.holder,
    ).returning(ChangeClaimRow.gateway)
    return bool((await session.scalars(taken)).all())


def _is(claim: Claim) -> ColumnElement[bool]:
    return (
        (ChangeClaimRow.gateway == claim.gateway)
        & (ChangeClaimRow.holder == claim.holder)
        & (ChangeClaimRow.revision == claim.revision)
    )


def _lapsed(database: Database) -> ColumnElement[bool]:
    return ChangeClaimRow.seen_at < database.clock - LAPSE_SECONDS
