"""Tables brought up to date when a process starts, by a database that may be away just then."""

import asyncio
import contextlib
from typing import Final

import structlog

from records.errors import LOST_DATABASE
from records.upgrade import upgrade

_PAUSE_SECONDS: Final = 5.0
_LOG: Final = structlog.get_logger(__name__)


async def migrated(url: str) -> bool:
    """Bring the tables up to date; False while the database is away."""
    try:
        await upgrade(url)
    except LOST_DATABASE as error:
        _LOG.warning("database_away", error=type(error).__name__)
        return False
    return True


async def migrate_later(url: str, stop: asyncio.Event) -> None:
    """Again and again, until it is done or stopped."""
    while not stop.is_set() and not await migrated(url):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)
