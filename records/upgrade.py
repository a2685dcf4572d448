"""Bring a database to the newest revision: safe while other processes start and do the same."""

import os
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from records.database import Database

# The newest revision in migrations/versions.
HEAD: Final = "044_revocations_by_whom"
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
# Any number that nothing else on the server locks by: the first bytes of SHA-256("apibank migrations").
_ADVISORY_LOCK: Final = 0x2F6B_14D3_90C8_A75E


async def upgrade(url: str, revision: str = HEAD) -> None:
    """Create or migrate the tables. Whoever comes second waits, and then finds the work done."""
    _create_privately(url)
    if await _revision(url) == revision:
        return
    async with Database(url) as database, database.writing() as session:
        # One transaction holds the lock, the look at the current revision and every change.
        if not database.sqlite:
            await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        await (await session.connection()).run_sync(_run, revision)


async def _revision(url: str) -> str | None:
    """What the database says of itself; None where it has no tables yet."""
    async with Database(url) as database:
        try:
            async with database.reading() as session:
                return (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
        except DBAPIError:
            return None


def _run(connection: Connection, revision: str) -> None:
    # Alembic takes longer to load than a gateway's process has to spare when there is nothing to migrate.
    from alembic import command
    from alembic.config import Config

    config = Config()
    # ConfigParser gives % a meaning.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _create_privately(url: str) -> None:
    # SQLite would let everybody on the machine read who administers what; its side files take the modes of this one.
    address = make_url(url)
    if address.drivername == "sqlite" and address.database:
        path = Path(address.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
