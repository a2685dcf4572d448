"""When keys were last used: remembered in memory, written in batches, so that a request never waits for it."""

from datetime import datetime

from sqlalchemy import bindparam, or_, update

from records.database import Database
from records.tables import KeyRow


class KeyUsage:
    """Note each use; flush every few seconds and at the end. There is one entry per key, however often it is used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, datetime] = {}

    def note(self, key_id: str, at: datetime) -> None:
        """Remember that a key was verified."""
        self._noted[key_id] = max(at, self._noted.get(key_id, at))

    async def flush(self) -> int:
        """Write what was noted; the number of keys. Where the database fails, it is noted still, and the error raised.

        A time never goes back, whichever process writes last.
        """
        batch, self._noted = self._noted, {}
        if not batch:
            return 0
        older = or_(KeyRow.last_used_at.is_(None), KeyRow.last_used_at < bindparam("at"))
        change = update(KeyRow.__table__).where(KeyRow.id == bindparam("key"), older)  # type: ignore[arg-type]
        # Always in one order, so that two processes never wait for each other's rows.
        rows = [{"key": key, "at": at} for key, at in sorted(batch.items())]
        try:
            async with self._database.writing() as session:
                await (await session.connection()).execute(change.values(last_used_at=bindparam("at")), rows)
        except BaseException:
            for key, at in batch.items():
                self.note(key, at)
            raise
        return len(batch)
