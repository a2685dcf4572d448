"""Tokens that are refused although they are good: one by its `jti`, or all of a subject up to an issue time.

An entry is needed for as long as a token that it covers could still be accepted, and is deleted after that.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.errors import RevocationRefusedError, UnknownRevocationError
from records.fact_versions import REVOCATIONS, bump, version_of
from records.portal_sessions import end_sessions
from records.tables import RevocationRow

# Every gateway's process holds all of them, and reads all of them after each change.
MOST: Final = 100_000
# Read at a time, between which whoever decides has its turn.
AT_ONCE: Final = 200
# What a token can say: the same forms as authz reads (RFC 7519 §4.1), so that no entry can miss its token.
_JTI: Final = re.compile(r"[\x21-\x7e]{1,128}")
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")
_LONGEST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class NewRevocation:
    """What is to be refused: `jti`, or `subject` with `issued_until`. `issuer` is the tokens' `iss`."""

    issuer: str
    jti: str | None
    subject: str | None
    issued_until: datetime | None
    until: datetime
    reason: str
    by: str


@dataclass(frozen=True, slots=True)
class Revocation:
    """An entry. Tokens of `subject` are refused where they were issued at or before `issued_until`.

    After `until` no token that it covers could be accepted anyway.
    """

    revocation_id: str
    issuer: str
    jti: str | None
    subject: str | None
    issued_until: datetime | None
    until: datetime
    reason: str
    by: str
    at: datetime


class Covered(NamedTuple):
    """What decides of an entry: which tokens it covers, and until when that matters."""

    issuer: str
    jti: str | None
    subject: str | None
    issued_until: datetime | None
    until: datetime


class TokenRevocations:
    """The table `revocations`. Each change grows the version that the gateways follow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revoke(self, new: NewRevocation, *, now: datetime) -> tuple[Revocation, int]:
        """Add an entry; it, and the version to wait for. Raises RevocationRefusedError, which says what is wrong."""
        _check(new, now)
        row = RevocationRow(
            id=f"r_{secrets.token_hex(8)}",
            issuer=new.issuer,
            jti=new.jti,
            subject=new.subject,
            issued_until=new.issued_until,
            until=new.until,
            reason=new.reason,
            revoked_by=new.by,
            revoked_at=now,
        )
        async with self._database.writing() as session:
            # Those that are over go with whatever comes next: the table is as large as what is in force.
            await session.execute(delete(RevocationRow).where(RevocationRow.until <= now))
            if (await session.scalar(select(func.count()).select_from(RevocationRow)) or 0) >= MOST:
                raise RevocationRefusedError(f"{MOST} entries are in force: revoke subjects rather than single tokens")
            session.add(row)
            await session.flush()
            await end_sessions(session, new.issuer, new.jti, new.subject, new.issued_until)
            return _read(row), await bump(self._database, session, REVOCATIONS)

    async def restore(self, revocation_id: str) -> tuple[Revocation, int]:
        """Take an entry away; it, and the version to wait for. Raises UnknownRevocationError."""
        async with self._database.writing() as session:
            row = await _row(session, revocation_id)
            await session.delete(row)
            return _read(row), await bump(self._database, session, REVOCATIONS)

    async def in_force(self, now: datetime) -> tuple[Sequence[Revocation], int]:
        """Every entry that is not over, in the order in which they were made, and their version."""
        query = (
            select(RevocationRow).where(RevocationRow.until > now).order_by(RevocationRow.revoked_at, RevocationRow.id)
        )
        async with self._database.reading() as session:
            # The version first: entries that are newer than it do no harm, a version newer than them would.
            version = await version_of(session, REVOCATIONS)
            return [_read(row) for row in await session.scalars(query)], version

    async def each(self, now: datetime, take: Callable[[Covered], None]) -> int:
        """Hand over what every entry covers that is not over, those that end first first; their version.

        A gateway reads all of them after each change, beside its checks: a few at a time, and no more than decides.
        """
        query = (
            select(*(getattr(RevocationRow, name) for name in Covered._fields))
            .where(RevocationRow.until > now)
            .order_by(RevocationRow.until)
            .execution_options(yield_per=AT_ONCE)
        )
        async with self._database.reading() as session:
            version = await version_of(session, REVOCATIONS)
            async for rows in (await session.stream(query)).partitions():
                for row in rows:
                    take(Covered(*row))
                await asyncio.sleep(0)
            return version


async def _row(session: AsyncSession, revocation_id: str) -> RevocationRow:
    row = await session.get(RevocationRow, revocation_id, with_for_update=True)
    if row is None:
        raise UnknownRevocationError(f"there is no revocation {revocation_id}")
    return row


def _read(row: RevocationRow) -> Revocation:
    return Revocation(
        revocation_id=row.id,
        issuer=row.issuer,
        jti=row.jti,
        subject=row.subject,
        issued_until=row.issued_until,
        until=row.until,
        reason=row.reason,
        by=row.revoked_by,
        at=row.revoked_at,
    )


def _check(new: NewRevocation, now: datetime) -> None:
    if (new.jti is None) == (new.subject is None):
        raise RevocationRefusedError("either a token by its jti, or a subject")
    if new.jti is not None and not _JTI.fullmatch(new.jti):
        raise RevocationRefusedError("a jti is 1 to 128 visible ASCII characters; no other is accepted of a token")
    if new.subject is not None and not _SUBJECT.fullmatch(new.subject):
        raise RevocationRefusedError("a subject is 1 to 255 visible ASCII characters; no other is accepted of a token")
    if (new.subject is None) != (new.issued_until is None):
        raise RevocationRefusedError("a subject is revoked up to an issue time, and a jti needs none")
    if new.until <= now:
        raise RevocationRefusedError("every token that this covers has expired already")
    if not 0 < len(new.reason) <= _LONGEST_REASON:
        raise RevocationRefusedError(f"a reason of 1 to {_LONGEST_REASON} characters")
