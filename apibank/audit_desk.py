"""What the audit's commands do with the database, one call each."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from authz.audit import Pseudonyms
from policy.descriptors import CALLER_SUBJECT
from records.audit_log import AuditEntry, AuditLog, AuditQuery, ChainEnd, StoredEntry
from records.audit_retention import AuditRetention, Pruned
from records.audit_verify import Anchors, AuditVerification, Finding, Verified
from records.database import Database
from records.errors import LOST_DATABASE, DatabaseUrlError

T = TypeVar("T")
_AGO: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class AuditDeskError(Exception):
    """What was asked cannot be done; the text says why."""


def moment(text: str, now: datetime) -> datetime:
    """A time as people write it: RFC 3339, a date, or how long ago (`90d`, `12h`). UTC where no zone is said.

    Raises AuditDeskError.
    """
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise AuditDeskError(f"{text!r} is no time: 2026-11-22, 2026-11-22T12:00:00Z, or 90d for 90 days ago") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def principal_of_subject(subject: str, key_file: Path) -> str:
    """As the audit names a token's subject. Raises AuditDeskError where the key of the pseudonyms is not here."""
    try:
        return CALLER_SUBJECT + Pseudonyms(key_file.read_bytes().strip()).of(subject)
    except (OSError, ValueError) as error:
        raise AuditDeskError(f"the key of the audit's pseudonyms, {key_file}, cannot be used: {error}") from error


def with_database(url: str, work: Callable[[Database], Awaitable[T]]) -> T:
    """Do something with the database. Raises AuditDeskError where it cannot be reached or is none of ours."""

    async def run() -> T:
        async with Database(url) as database:
            return await work(database)

    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).exists():
        raise AuditDeskError(f"there is no database at {path}: name it with --database, or the --state-dir it is in")
    try:
        return asyncio.run(run())
    except DatabaseUrlError as error:
        raise AuditDeskError(str(error)) from error
    except BrokenPipeError:
        # Of whoever read what is printed, and has had enough.
        raise
    except LOST_DATABASE as error:
        # Not its text, which holds what was asked for.
        said = type(error).__name__
        raise AuditDeskError(
            f"the database does not answer, or has no audit of this version: {said}; a gateway that starts brings it"
        ) from error
    except (ValueError, TypeError, OverflowError) as error:
        raise AuditDeskError("a row holds what cannot be read: `apibank audit verify` names it") from error


async def page(database: Database, query: AuditQuery) -> Sequence[StoredEntry]:
    """The newest rows."""
    return await AuditLog(database).find(query)


async def every(database: Database, query: AuditQuery, put: Callable[[StoredEntry], object], after: int = 0) -> int:
    """Each row to `put`, the oldest first; the last row's id, or `after` where there was none."""
    async for row in AuditLog(database).scan(query, after):
        put(row)
        after = row.row_id
    return after


async def follow(database: Database, query: AuditQuery, put: Callable[[StoredEntry], object], after: int) -> None:
    """Each row that comes, until cancelled."""
    while True:
        after = await every(database, query, put, after)
        await asyncio.sleep(1)


async def ends(database: Database, gateway: str | None, *, beginnings: bool = False) -> Sequence[ChainEnd]:
    """Where the chains end; or begin: the last rows that were removed."""
    log = AuditLog(database)
    return await (log.beginnings(gateway) if beginnings else log.ends(gateway))


async def verify(
    database: Database, gateway: str | None, anchors: Anchors, put: Callable[[Finding | Verified], object]
) -> None:
    """Look through one chain or all: what was found and, after each chain, what was looked at."""
    verification = AuditVerification(database)
    for name in [gateway] if gateway is not None else sorted(await verification.gateways() | anchors.gateways()):
        async for one in verification.verify(name, anchors):
            put(one)


@dataclass(frozen=True, slots=True)
class Pruning:
    """What is to be removed, and who does it."""

    gateway: str
    before: datetime
    operator: str


async def prune(database: Database, pruning: Pruning, anchors: Anchors, now: datetime) -> Pruned:
    """Remove old rows of a chain that is whole, and say so in the chain. Raises AuditDeskError where it is not."""
    gateway, log = pruning.gateway, AuditLog(database)
    async for one in AuditVerification(database).verify(gateway, anchors):
        if isinstance(one, Finding):
            raise AuditDeskError(f"the chain of {gateway} is not whole, and nothing was removed: see `audit verify`")
    if not await log.ends(gateway):
        raise AuditDeskError(f"there is no chain of {gateway!r}")
    said = AuditEntry(
        timestamp=now,
        gateway=gateway,
        endpoint="apibank audit prune",
        method="PRUNE",
        outcome="initiated",
        principal=f"operator:{pruning.operator}",
        reason=f"before {pruning.before.astimezone(UTC).isoformat(timespec='seconds')}",
    )
    await log.write([said])
    pruned = await AuditRetention(database).prune(gateway, min(pruning.before, now))
    if pruned is None:
        raise AuditDeskError(f"there is no chain of {gateway!r}")
    done = f"{pruned.removed} rows; begins at {pruned.first_position}"
    await log.write(
        [
            AuditEntry(
                timestamp=now,
                gateway=gateway,
                endpoint=said.endpoint,
                method=said.method,
                outcome="success",
                principal=said.principal,
                reason=done,
            )
        ]
    )
    return pruned
