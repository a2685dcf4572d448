"""Parents' consents for their children (COPPA, 16 CFR 312.5): granted, revoked, listed, and loaded for authz.

A consent names what it is for: consent to answer a child's questions is none to hand its data to others (§312.5(a)(2)).
Nothing is deleted: what was consented to at some time can be shown later.
"""

import asyncio
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, cast

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from records.database import Database
from records.errors import ConsentRefusedError, UnknownConsentError
from records.fact_versions import CONSENTS, bump, version_of
from records.tables import ConsentRow

# A child grows, and so does what is asked of it: ask the parent again after that.
LONGEST: Final = timedelta(days=2 * 366)
_SUBJECT: Final = re.compile(r"[\x21-\x7e]{1,255}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_MOST_PURPOSES: Final = 20
# Read at a time, between which whoever decides has its turn.
_AT_ONCE: Final = 100


class ConsentMethod(StrEnum):
    """How it was made sure that a parent consents (16 CFR 312.5(b)(2))."""

    SIGNED_FORM = "signed_form"
    PAYMENT_CARD = "payment_card"
    PHONE_CALL = "phone_call"
    VIDEO_CALL = "video_call"
    GOVERNMENT_ID = "government_id"
    KNOWLEDGE_QUESTIONS = "knowledge_questions"
    FACE_MATCH = "face_match"
    EMAIL_PLUS = "email_plus"
    TEXT_PLUS = "text_plus"


@dataclass(frozen=True, slots=True)
class NewConsent:
    """What a parent consents to. `child` and `parent` are subjects of tokens."""

    child: str
    parent: str
    method: str
    purposes: Collection[str]
    lifetime: timedelta
    by: str = ""


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """A consent as it was recorded, and when it was revoked, if it was."""

    consent_id: str
    child: str
    parent: str
    method: ConsentMethod
    purposes: frozenset[str]
    granted_at: datetime
    granted_by: str
    expires_at: datetime
    revoked_at: datetime | None

    def status(self, now: datetime) -> str:
        """`in force`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "in force" if now < self.expires_at else "expired"


@dataclass(frozen=True, slots=True)
class ConsentsInForce:
    """Every consent that is neither revoked nor expired, by child."""

    version: int
    by_child: Mapping[str, Sequence[ConsentRecord]]


class ConsentRecords:
    """The table `consents`. Each change grows the version that gateways follow."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(self, new: NewConsent, *, now: datetime) -> tuple[ConsentRecord, int]:
        """Record a consent; it, and the version to wait for. Raises ConsentRefusedError, which says what is wrong."""
        _check(new)
        row = ConsentRow(
            id=f"c_{secrets.token_hex(8)}",
            child=new.child,
            parent=new.parent,
            method=str(ConsentMethod(new.method)),
            purposes=sorted(set(new.purposes)),
            granted_at=now,
            granted_by=new.by,
            expires_at=now + new.lifetime,
        )
        async with self._database.writing() as session:
            session.add(row)
            await session.flush()
            return _read(row), await bump(self._database, session, CONSENTS)

    async def revoke(self, consent_id: str, *, now: datetime) -> tuple[ConsentRecord, int]:
        """End a consent; it, and the version to wait for. A second time changes nothing. Raises UnknownConsentError."""
        async with self._database.writing() as session:
            row = await _row(session, consent_id)
            if row.revoked_at is not None:
                return _read(row), await version_of(session, CONSENTS)
            row.revoked_at = now
            return _read(row), await bump(self._database, session, CONSENTS)

    async def list(self, child: str | None = None, parent: str | None = None) -> Sequence[ConsentRecord]:
        """All consents, or those of a child or a parent, in the order in which they were granted."""
        query = select(ConsentRow).order_by(ConsentRow.granted_at, ConsentRow.id)
        if child is not None:
            query = query.where(ConsentRow.child == child)
        if parent is not None:
            query = query.where(ConsentRow.parent == parent)
        async with self._database.reading() as session:
            return [_read(row) for row in await session.scalars(query)]

    async def in_force(self, now: datetime) -> ConsentsInForce:
        """What authz decides by; it looks at `expires_at` itself."""
        # Rows and no objects, a few at a time: a gateway reads all of them after each change, beside its checks.
        query = (
            select(*ConsentRow.__table__.columns)
            .where(ConsentRow.revoked_at.is_(None), ConsentRow.expires_at > now)
            .order_by(ConsentRow.granted_at, ConsentRow.id)
            .execution_options(yield_per=_AT_ONCE)
        )
        by_child: dict[str, list[ConsentRecord]] = {}
        async with self._database.reading() as session:
            # The version first: consents that are newer than it do no harm, a version that is newer than them would.
            version = await version_of(session, CONSENTS)
            async for rows in (await session.stream(query)).partitions():
                for row in rows:
                    # One that a later version has written in its own way proves nothing here, and spoils no other.
                    with suppress(ValueError, TypeError):
                        # It has the columns of a ConsentRow by the same names.
                        record = _read(cast("ConsentRow", row))
                        by_child.setdefault(record.child, []).append(record)
                await asyncio.sleep(0)
        return ConsentsInForce(version, by_child)


async def _row(session: AsyncSession, consent_id: str) -> ConsentRow:
    row = await session.get(ConsentRow, consent_id, with_for_update=True)
    if row is None:
        raise UnknownConsentError(f"there is no consent {consent_id}")
    return row


def _read(row: ConsentRow) -> ConsentRecord:
    return ConsentRecord(
        consent_id=row.id,
        child=row.child,
        parent=row.parent,
        method=ConsentMethod(row.method),
        purposes=frozenset(row.purposes),
        granted_at=row.granted_at,
        granted_by=row.granted_by,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )


def _check(new: NewConsent) -> None:
    for name, subject in (("child", new.child), ("parent", new.parent)):
        if not _SUBJECT.fullmatch(subject):
            raise ConsentRefusedError(f"a {name} is a token's subject: 1 to 255 visible ASCII characters")
    if new.child == new.parent:
        raise ConsentRefusedError("nobody consents for themselves: child and parent are two subjects")
    if new.method not in set(ConsentMethod):
        raise ConsentRefusedError(f"a method is one of {', '.join(ConsentMethod)}")
    if not 0 < len(new.purposes) <= _MOST_PURPOSES or not all(_PURPOSE.fullmatch(one) for one in new.purposes):
        raise ConsentRefusedError(f"1 to {_MOST_PURPOSES} purposes, such as education or third_party_disclosure")
    if not timedelta() < new.lifetime <= LONGEST:
        raise ConsentRefusedError(f"a consent lasts for at most {LONGEST.days} days, and for longer than nothing")
