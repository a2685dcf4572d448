"""Bring a database to a revision: safe while other processes start and do the same, and run on what it was.

Processes of two versions run side by side while one replaces the other, and an older one may start again on a database
that a newer one has brought forward. So a migration only adds, with defaults for who does not know what was added.
What takes something away, or gives it another meaning, begins a new generation, which is a revision's number without
its last two digits; a release that serves the new generation comes before the one that begins it.
"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import DBAPIError

from records.database import Database
from records.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config

_LOG: Final = structlog.get_logger(__name__)
# The newest revision in migrations/versions.
HEAD: Final = "044_revocations_by_whom"
# Databases that later versions have brought forward are served up to this generation.
GENERATION: Final = 0
# Revisions of one generation.
_EACH: Final = 100
_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_NUMBERED: Final = re.compile(r"(\d{3,9})_\w+")
# Any number that nothing else on the server locks by: the first bytes of SHA-256("apibank migrations").
_ADVISORY_LOCK: Final = 0x2F6B_14D3_90C8_A75E


async def upgrade(url: str, revision: str = HEAD) -> None:
    """Create or migrate the tables. Whoever comes second waits, and then finds the work done.

    A database of a later version is left as it is. Raises SchemaError where it cannot be served.
    """
    _create_privately(url)
    found = await revision_of(url)
    if found == revision or (found is not None and _is_later(found)):
        return

    def forward(config: "Config") -> None:
        from alembic import command

        command.upgrade(config, revision)

    await _migrate(url, forward)


async def downgrade(url: str, revision: str) -> None:
    """Take newer tables and columns away, with what is in them. Raises SchemaError where that cannot be done."""
    found = await revision_of(url)
    if found is None:
        raise SchemaError("the database has no tables")
    if revision not in revisions():
        raise SchemaError(f"there is no revision {revision!r}: {', '.join(revisions())}")
    if found not in revisions():
        raise SchemaError(f"the database is at {found}, of a later apibank: only that one can take it back")
    if revision > found:
        raise SchemaError(f"the database is at {found}, before {revision}: apibank database upgrade brings it forward")

    def back(config: "Config") -> None:
        from alembic import command

        command.downgrade(config, revision)

    await _migrate(url, back)


async def revision_of(url: str) -> str | None:
    """What the database says of itself; None where it has no tables yet, or is away."""
    async with Database(url) as database:
        try:
            async with database.reading() as session:
                return (await session.execute(text("SELECT version_num FROM alembic_version"))).scalar_one_or_none()
        except DBAPIError:
            return None


def revisions() -> list[str]:
    """All that this version knows, the oldest first."""
    return sorted(path.stem for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _is_later(found: str) -> bool:
    """Whether a later version has brought the database to this revision. Raises SchemaError where none may serve it."""
    if found in revisions():
        return False
    numbered = _NUMBERED.fullmatch(found)
    if numbered is None:
        raise SchemaError(f"the database is at {found!r}, which is no revision of apibank")
    if int(numbered[1]) // _EACH > GENERATION:
        raise SchemaError(
            f"the database is at {found}, and this apibank serves those before {(GENERATION + 1) * _EACH:03}: "
            "run the version that brought it there, or take it back with that: apibank database downgrade"
        )
    _LOG.info("database_of_a_later_version", revision=found, known=HEAD)
    return True


async def _migrate(url: str, work: "Callable[[Config], None]") -> None:
    async with Database(url) as database, database.writing() as session:
        # One transaction holds the lock, the look at the current revision and every change.
        if not database.sqlite:
            await session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _ADVISORY_LOCK})
        await (await session.connection()).run_sync(_run, work)


def _run(connection: Connection, work: "Callable[[Config], None]") -> None:
    # Alembic takes longer to load than a gateway's process has to spare when there is nothing to migrate.
    from alembic.config import Config

    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar() if _has(connection) else None
    if found is not None and _is_later(found):
        # Brought there while this one waited.
        return
    config = Config()
    # ConfigParser gives % a meaning.
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    work(config)


def _has(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, "alembic_version")


def _create_privately(url: str) -> None:
    # SQLite would let everybody on the machine read who administers what; its side files take the modes of this one.
    address = make_url(url)
    if address.drivername == "sqlite" and address.database:
        path = Path(address.database)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
