"""Who is signed in to the portal. A browser holds 256 random bits; the database has their SHA-256 alone.

A session ends when nobody has used it for IDLE_SECONDS, LONGEST_SECONDS after its person signed in, and at once when
the person signs out.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Final

from sqlalchemy import delete, or_, update

from records.database import Database
from records.tables import PortalSessionRow

IDLE_SECONDS: Final = 30 * 60.0
LONGEST_SECONDS: Final = 8 * 3600.0
# How exactly it is known when a session was used last: each page would be a write otherwise.
_NOTED_SECONDS: Final = 60.0

Told = Mapping[str, object]


class PortalSessions:
    """The table `portal_sessions`. Times are POSIX seconds and passed in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, person: Told, now: float) -> str:
        """A new session of a person, as JSON tells of one; what the browser holds. Those that have ended go."""
        text = secrets.token_urlsafe(32)
        row = PortalSessionRow(digest=_digest(text), person=dict(person), seen_at=now, ends_at=now + LONGEST_SECONDS)
        over = or_(PortalSessionRow.ends_at <= now, PortalSessionRow.seen_at <= now - IDLE_SECONDS)
        async with self._database.writing() as session:
            await session.execute(delete(PortalSessionRow).where(over))
            session.add(row)
        return text

    async def find(self, text: str, now: float) -> Told | None:
        """Whose session it is; None where it has ended, or never was. Being asked for keeps it from being idle."""
        digest = _digest(text)
        async with self._database.reading() as session:
            row = await session.get(PortalSessionRow, digest)
        if row is None or row.ends_at <= now or row.seen_at <= now - IDLE_SECONDS:
            return None
        if row.seen_at <= now - _NOTED_SECONDS:
            seen = update(PortalSessionRow).where(PortalSessionRow.digest == digest).values(seen_at=now)
            async with self._database.writing() as session:
                await session.execute(seen.execution_options(synchronize_session=False))
        return row.person

    async def close(self, text: str) -> None:
        """End a session; nothing where there is none."""
        gone = delete(PortalSessionRow).where(PortalSessionRow.digest == _digest(text))
        async with self._database.writing() as session:
            await session.execute(gone.execution_options(synchronize_session=False))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
