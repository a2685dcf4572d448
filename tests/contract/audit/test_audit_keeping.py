"""Old rows leave by themselves where a setting says so, and what is left is proven."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from apibank.audit_anchors import ANCHOR_NAME, anchor_line, anchors_below
from apibank.audit_desk import AuditDeskError
from apibank.audit_keeping import AuditKeeping
from records.audit_log import AuditLog, AuditQuery
from records.audit_verify import AuditVerification, Finding, Flaw
from records.database import Database
from records.upgrade import upgrade
from tests.contract.audit.test_audit_commands import NOW, entry


@pytest.fixture
async def database(tmp_path: Path) -> Database:
    url = f"sqlite:///{tmp_path / 'apibank.db'}"
    await upgrade(url)
    return Database(url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "audit"
    (path / "platform" / "1").mkdir(parents=True)
    return path


async def flaws(database: Database, folder: Path) -> list[Flaw]:
    found = AuditVerification(database).verify("platform", anchors_below(folder))
    return [one.flaw async for one in found if isinstance(one, Finding)]


@pytest.mark.requirement("R36")
async def test_old_rows_leave_and_the_rest_is_whole(database: Database, folder: Path) -> None:
    async with database:
        # One a day: the first is ten days old.
        await AuditLog(database).write([entry(number) for number in range(10)])
        (end,) = await AuditLog(database).ends("platform")
        (folder / "platform" / "1" / ANCHOR_NAME).write_text(anchor_line(end, NOW.timestamp()) + "\n")
        keeping = AuditKeeping("platform", folder, database, 4, lambda: NOW.timestamp())
        assert await keeping.once() == 6
        rows = await AuditLog(database).find(AuditQuery("platform"))
        assert [row.entry.method for row in rows if row.entry.method == "PRUNE"] == ["PRUNE"] * 2
        assert min(row.entry.timestamp for row in rows) >= NOW - timedelta(days=4)
        assert await flaws(database, folder) == []
        # The next day's look finds nothing, and says nothing.
        assert await keeping.once() == 0
        assert len(await AuditLog(database).find(AuditQuery("platform"))) == len(rows)
        # Who takes rows away without the checkpoint is still found.
        (folder / "platform" / "checkpoints.jsonl").unlink()
        assert await flaws(database, folder) == [Flaw.CUT]


async def test_nothing_leaves_a_chain_that_is_not_whole(database: Database, folder: Path) -> None:
    async with database:
        await AuditLog(database).write([entry(number) for number in range(10)])
        async with database.writing() as session:
            await session.execute(text("UPDATE admin_audit_logs SET status = 500 WHERE position = 2"))
        keeping = AuditKeeping("platform", folder, database, 4, lambda: NOW.timestamp())
        with pytest.raises(AuditDeskError, match="not whole"):
            await keeping.once()
        assert len(await AuditLog(database).find(AuditQuery("platform"))) == 10
        # It goes on, and looks again.
        running = asyncio.create_task(keeping.run())
        done, _ = await asyncio.wait({running}, timeout=0.5)
        assert not done
        running.cancel()
