"""Who is signed in to the portal. A browser holds 256 random bits; the database has their SHA-256 alone.

A session ends when nobody has used it for IDLE_SECONDS, LONGEST_SECONDS after its person signed in, and at once when
the person signs out or the token is revoked that the person signed in by (records.revocations).
"""

import hashlib
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import and_, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.tables import PortalSessionRow, RevocationRow

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
            # Whoever signed in while the revocation was made is not among those that it ended.
            if await _is_revoked(session, row.person, now):
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


async def end_sessions(
    session: AsyncSession, issuer: str, jti: str | None, subject: str | None, issued_until: datetime | None
) -> None:
    """End those whose tokens a revocation covers, in its transaction.

    A session outlasts tokens, and so the revocation, which is kept no longer than a token could be accepted.
    """
    person = PortalSessionRow.person
    covered = (
        person["jti"].as_string() == jti
        if issued_until is None
        else and_(person["subject"].as_string() == subject, person["issued_at"].as_float() <= issued_until.timestamp())
    )
    gone = delete(PortalSessionRow).where(person["issuer"].as_string() == issuer, covered)
    await session.execute(gone.execution_options(synchronize_session=False))


async def _is_revoked(session: AsyncSession, person: Told, now: float) -> bool:
    match person:
        case {
            "issuer": str(issuer),
            "jti": str(jti),
            "subject": str(subject),
            "issued_at": int() | float() as issued_at,
        }:
            by_token = RevocationRow.jti == jti if jti else RevocationRow.id.is_(None)
            by_subject = and_(
                RevocationRow.subject == subject, RevocationRow.issued_until >= datetime.fromtimestamp(issued_at, UTC)
            )
            in_force = RevocationRow.until > datetime.fromtimestamp(now, UTC)
            query = select(exists().where(in_force, RevocationRow.issuer == issuer, or_(by_token, by_subject)))
            return bool(await session.scalar(query))
    # What does not say by which token it was made cannot be looked up.
    return True


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
