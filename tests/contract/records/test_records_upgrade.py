"""Migrations: from nothing to the newest tables, by many at once."""

import asyncio
import stat
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from records.database import Database
from records.tables import Table
from records.upgrade import HEAD, upgrade

ROOT = Path(__file__).resolve().parents[3]


def test_everything_here_is_shown_on_postgresql_too(postgres: str) -> None:
    assert postgres.startswith("postgresql://")


async def revisions(url: str) -> list[str]:
    async with Database(url) as database, database.reading() as session:
        return list(await session.scalars(text("SELECT version_num FROM alembic_version")))


@pytest.mark.requirement("R36")
async def test_the_audit_table_comes_by_its_own_migration(url: str) -> None:
    await upgrade(url, "020_admin_audit_logs")
    assert await revisions(url) == ["020_admin_audit_logs"]
    async with Database(url) as database, database.reading() as session:
        columns = await (await session.connection()).run_sync(
            lambda sync: {column["name"] for column in inspect(sync).get_columns("admin_audit_logs")}
        )
    assert columns >= {"endpoint", "method", "ip", "user_agent", "status", "timestamp", "principal"}


async def test_an_older_database_is_brought_forward(url: str) -> None:
    await upgrade(url, "020_admin_audit_logs")
    await upgrade(url)
    assert await revisions(url) == [HEAD]


async def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Table.metadata))

    async with database.reading() as session:
        assert await (await session.connection()).run_sync(differences) == []


async def test_processes_that_start_together_all_find_the_tables(url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from records.database import Database\n"
        "from records.fact_versions import bump\n"
        "from records.upgrade import HEAD, upgrade\n"
        "async def main(url):\n"
        "    await upgrade(url)\n"
        "    async with Database(url) as database:\n"
        "        for _ in range(5):\n"
        "            async with database.writing() as session:\n"
        "                await bump(database, session, 'x')\n"
        "asyncio.run(main(sys.argv[1]))\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    outcomes = [((await process.communicate())[1].decode(), process.returncode) for process in processes]
    assert outcomes == [("", 0)] * 4
    async with Database(url) as database, database.reading() as session:
        assert await session.scalar(text("SELECT version FROM fact_versions WHERE name = 'x'")) == 20


async def test_nobody_else_on_the_machine_reads_the_sqlite_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "100%.db"
    await upgrade(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
