"""How a change of facts comes into force on every gateway, and how its author knows that it has.

A change and the bump of its version are one transaction. Every gateway process looks at the version twice a second,
reloads when it has grown, and writes down which version it decides by. Whoever made the change waits until every
process that has been heard of lately has written that version or a later one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.errors import NotAppliedError
from records.tables import FactAppliedRow, FactVersionRow

# The set of partners' API keys.
API_KEYS: Final = "api_keys"
# The list of revoked tokens.
REVOCATIONS: Final = "revocations"
# Parents' consents for their children.
CONSENTS: Final = "consents"

# A process that has said nothing for so long counts as gone, and nobody waits for it.
GONE_SECONDS: Final = 18.0
# Facts are decided by for at most so long after they were confirmed. As a confirmation comes soon after a sign of
# life, a process that counts as gone has stopped using them: a change that is reported to be in force is in force.
FRESH_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What one running process decides by."""

    instance: str
    gateway: str
    version: int


class FactVersions:
    """The versions in a database, and who runs which."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def current(self, name: str) -> int:
        """The version now; 0 before the first change."""
        async with self._database.reading() as session:
            return await version_of(session, name)

    async def report(self, instance: str, gateway: str, name: str, version: int) -> None:
        """Say which version a process decides by; also its sign of life."""
        insert = self._database.insert_into(FactAppliedRow).values(
            instance=instance, gateway=gateway, name=name, version=version, seen_at=self._database.clock
        )
        said = {column: insert.excluded[column] for column in ("gateway", "version", "seen_at")}
        async with self._database.writing() as session:
            await session.execute(insert.on_conflict_do_update(index_elements=["instance", "name"], set_=said))

    async def withdraw(self, instance: str) -> None:
        """Say that a process stops, so that nobody waits for it."""
        async with self._database.writing() as session:
            await session.execute(delete(FactAppliedRow).where(FactAppliedRow.instance == instance))

    async def applied(self, name: str) -> Sequence[Applied]:
        """Every process that has been heard of lately, by instance."""
        fresh = FactAppliedRow.seen_at >= self._database.clock - GONE_SECONDS
        query = select(FactAppliedRow).where(FactAppliedRow.name == name, fresh).order_by(FactAppliedRow.instance)
        async with self._database.reading() as session:
            return [Applied(row.instance, row.gateway, row.version) for row in await session.scalars(query)]

    async def silent(self, name: str, seconds: float) -> Sequence[Applied]:
        """Every process that counts as gone, did not say that it stopped, and was heard of within `seconds`."""
        last = self._database.clock - FactAppliedRow.seen_at
        query = (
            select(FactAppliedRow)
            .where(FactAppliedRow.name == name, last > GONE_SECONDS, last <= seconds)
            .order_by(FactAppliedRow.instance)
        )
        async with self._database.reading() as session:
            return [Applied(row.instance, row.gateway, row.version) for row in await session.scalars(query)]

    async def wait_applied(self, name: str, version: int, timeout_seconds: float) -> Sequence[Applied]:
        """Return when every process heard of lately runs at least that version; it may be that none runs at all.

        Raises NotAppliedError, which names those that do not, after the time-out.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            running = await self.applied(name)
            late = tuple(one.instance for one in running if one.version < version)
            if not late:
                return running
            if asyncio.get_running_loop().time() >= deadline:
                raise NotAppliedError(name, version, late)
            await asyncio.sleep(0.05)


async def version_of(session: AsyncSession, name: str) -> int:
    """The version that this transaction sees; 0 before the first change."""
    found = await session.scalar(select(FactVersionRow.version).where(FactVersionRow.name == name))
    return found or 0


async def bump(database: Database, session: AsyncSession, name: str) -> int:
    """The next version, committed together with everything else that the transaction changes.

    Changes of one name queue here, so that versions become visible in their order.
    """
    insert = database.insert_into(FactVersionRow).values(name=name, version=1)
    grown = insert.on_conflict_do_update(index_elements=["name"], set_={"version": FactVersionRow.version + 1})
    return (await session.execute(grown.returning(FactVersionRow.version))).scalar_one()
