"""Everything that the tables have of one person, but for the audit (records.audit_erasure): shown, and erased.

People are known by a token's subject where it has to be compared with one (consents, revocations, sessions), and by its
pseudonym everywhere else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, func, inspect, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from records.database import Database
from records.fact_versions import CONSENTS, bump
from records.tables import (
    AccessLogRow,
    AuditRow,
    ConsentRow,
    DeliveryRow,
    EndpointOverrideRow,
    KeyRow,
    PolicyHistoryRow,
    PortalSessionRow,
    RevocationRow,
    SpanRow,
    Table,
    UsageRow,
    WebhookRow,
)

ERASED: Final = "erased"
_STEP: Final = 1000
# Who did something; what was done stays.
_BY: Final = (
    (KeyRow, KeyRow.created_by), (WebhookRow, WebhookRow.created_by), (ConsentRow, ConsentRow.granted_by),
    (RevocationRow, RevocationRow.revoked_by), (PolicyHistoryRow, PolicyHistoryRow.author),
    (EndpointOverrideRow, EndpointOverrideRow.author),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Person:
    """`subject`: as their tokens name them. `pseudonym`: as the audit and the request log do."""

    subject: str
    pseudonym: str

    @property
    def principal(self) -> str:
        """As one word for who it was."""
        return f"sub:{self.pseudonym}"


class Persons:
    """One database; what is kept beside it in another is another one's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rows(self, person: Person) -> Mapping[str, Sequence[Mapping[str, object]]]:
        """What there is of a person, by table."""
        found: dict[str, Sequence[Mapping[str, object]]] = {}
        async with self._database.reading() as session:
            for table, which in _of(person):
                rows = await session.scalars(select(table).where(which))
                found[table.__tablename__] = [_shown(row) for row in rows]
            asked = await _requests(session, person)
            spans = [row for part in asked for row in await session.scalars(select(SpanRow).where(_spans(part)))]
            found[SpanRow.__tablename__] = [_shown(row) for row in spans]
        return {name: rows for name, rows in found.items() if rows}

    async def erase(self, person: Person, now: datetime) -> Mapping[str, int]:
        """How many rows of each table were removed, or have another in the person's place.

        A revocation in force is left: without it, the tokens that it refuses would be good again.
        """
        done: dict[str, int] = {}
        async with self._database.writing() as session:
            await self._database.overwrite(session)
            done["spans"] = 0
            for part in await _requests(session, person):
                done["spans"] += await _count(session, delete(SpanRow).where(_spans(part)))
            for table, which in _of(person):
                name = table.__tablename__
                if table is UsageRow:
                    change = update(UsageRow).where(which).values(caller=f"sub:{ERASED}", credential="")
                    done[name] = await _count(session, change)
                elif table is RevocationRow:
                    done[name] = await _count(session, delete(RevocationRow).where(which, RevocationRow.until <= now))
                else:
                    done[name] = await _count(session, delete(table).where(which))
            for row, column in _BY:
                names = column.in_((person.subject, person.principal))
                changed = await _count(session, update(row).where(names).values({column: ERASED}))
                done[row.__tablename__] = done.get(row.__tablename__, 0) + changed
            if done[ConsentRow.__tablename__]:
                await bump(self._database, session, CONSENTS)
        return {name: count for name, count in done.items() if count}

    async def kept(self, person: Person, now: datetime) -> datetime | None:
        """Until when a revocation must be kept that names the person; None where there is none."""
        named = select(func.max(RevocationRow.until)).where(RevocationRow.subject == person.subject)
        async with self._database.reading() as session:
            until: datetime | None = await session.scalar(named.where(RevocationRow.until > now))
        return until

    async def names(self) -> tuple[set[str], set[str]]:
        """Every subject, and every pseudonym, that the tables have."""
        subjects: set[str | None] = set()
        callers: set[str | None] = set()
        async with self._database.reading() as session:
            for column in (ConsentRow.child, ConsentRow.parent, RevocationRow.subject):
                subjects |= set(await session.scalars(select(column).distinct()))
            for told in await session.scalars(select(PortalSessionRow.person)):
                subjects.add(str(told.get("subject", "")))
            for column in (AuditRow.principal, UsageRow.caller, AccessLogRow.caller, KeyRow.created_by):
                callers |= set(await session.scalars(select(column).where(column.startswith("sub:")).distinct()))
            subjects_told = set(await session.scalars(select(AccessLogRow.subject).distinct()))
        pseudonyms = {str(one).removeprefix("sub:") for one in callers} | subjects_told
        return {one for one in subjects if one}, pseudonyms - {ERASED, ""}

    async def settle(self) -> None:
        """Have nothing of what was removed left beside the tables. For SQLite, whose journal has it until then."""
        if self._database.sqlite:
            async with self._database.reading() as session:
                await session.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def _of(person: Person) -> Iterator[tuple[type[Table], ColumnElement[bool]]]:
    subject = person.subject
    yield ConsentRow, or_(ConsentRow.child == subject, ConsentRow.parent == subject)
    yield RevocationRow, RevocationRow.subject == subject
    yield PortalSessionRow, PortalSessionRow.person["subject"].as_string() == subject
    yield AccessLogRow, or_(AccessLogRow.subject == person.pseudonym, AccessLogRow.caller == person.principal)
    yield UsageRow, UsageRow.caller == person.principal
    yield (
        DeliveryRow,
        or_(
            *(
                DeliveryRow.body.contains(f'"{name}"', autoescape=True)
                for name in (subject, person.pseudonym, person.principal)
            )
        ),
    )


async def _requests(session: AsyncSession, person: Person) -> Sequence[Sequence[str]]:
    """The ids of their requests, a few at a time."""
    mine = or_(AccessLogRow.subject == person.pseudonym, AccessLogRow.caller == person.principal)
    ids = (await session.scalars(select(AccessLogRow.request_id).where(mine, AccessLogRow.request_id != ""))).all()
    return [ids[start : start + _STEP] for start in range(0, len(ids), _STEP)]


def _spans(requests: Sequence[str]) -> ColumnElement[bool]:
    # Only a trace's first spans have the request's id. Another name keeps it from being the row that is asked about.
    first = aliased(SpanRow)
    traces = select(first.trace_id).where(first.request_id.in_(requests))
    return SpanRow.trace_id.in_(traces)


async def _count(session: AsyncSession, change: Any) -> int:
    return int((await session.execute(change.execution_options(synchronize_session=False))).rowcount)  # type: ignore[attr-defined]


def _shown(row: Table) -> Mapping[str, object]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}
