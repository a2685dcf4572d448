"""The configuration that was good last, one for each node group: what a control plane serves after a restart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select

from records.database import Database
from records.tables import SnapshotRow


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """`body` is whatever the writer made of it, without secrets; `version` the snapshot's."""

    group: str
    version: str
    body: bytes
    saved_at: datetime


class Snapshots:
    """The table `last_good_snapshots`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, snapshot: StoredSnapshot) -> None:
        """Put it in the place of the group's former one."""
        values = {"version": snapshot.version, "body": snapshot.body, "saved_at": snapshot.saved_at}
        insert = self._database.insert_into(SnapshotRow).values(node_group=snapshot.group, **values)
        async with self._database.writing() as session:
            await session.execute(insert.on_conflict_do_update(index_elements=["node_group"], set_=values))

    async def all(self) -> Sequence[StoredSnapshot]:
        """Of every group, by name."""
        async with self._database.reading() as session:
            rows = await session.scalars(select(SnapshotRow).order_by(SnapshotRow.node_group))
            return [StoredSnapshot(row.node_group, row.version, row.body, row.saved_at) for row in rows]

    async def find(self, group: str) -> StoredSnapshot | None:
        async with self._database.reading() as session:
            row = await session.get(SnapshotRow, group)
            return None if row is None else StoredSnapshot(row.node_group, row.version, row.body, row.saved_at)

    async def forget(self, group: str) -> None:
        async with self._database.writing() as session:
            await session.execute(delete(SnapshotRow).where(SnapshotRow.node_group == group))
