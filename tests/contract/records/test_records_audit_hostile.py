"""The chain under somebody who knows how it is verified: what cannot be read, or leads astray, is a flaw by name."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from records.audit_chain import ChainEnd
from records.audit_log import AuditEntry, AuditLog, AuditQuery
from records.audit_verify import Anchors, AuditVerification, Finding, Flaw, Verified
from records.database import Database
from tests.contract.records.conftest import NOW

ROWS = 4
ENTRY = AuditEntry(timestamp=NOW, gateway="platform", endpoint="/api/platform/admin", method="POST", outcome="allowed")


def entry(number: int) -> AuditEntry:
    return replace(ENTRY, event_id=f"e{number}", timestamp=NOW + timedelta(seconds=number))


@pytest.fixture
async def log(database: Database) -> AuditLog:
    log = AuditLog(database)
    await log.write([entry(number) for number in range(1, ROWS + 1)])
    return log


async def execute(database: Database, *statements: str) -> None:
    async with database.writing() as session:
        for statement in statements:
            await session.execute(text(statement))


async def flaws(database: Database, *ends: ChainEnd) -> list[tuple[Flaw, int | None, str]]:
    found = [one async for one in AuditVerification(database).verify("platform", Anchors(ends))]
    assert isinstance(found[-1], Verified)
    return [(one.flaw, one.position, one.event_id) for one in found if isinstance(one, Finding)]


ON_SQLITE = (
    "timestamp = 'yesterday'",
    "timestamp = '9999-99-99 00:00:00'",
    "timestamp = 12",
    "method = x'ff00'",
    "endpoint = CAST(x'ff' AS TEXT)",
    "status = 'allowed'",
    "row_hash = x'00'",
    "prev_hash = x'00'",
    "endpoint = 5",
)
ON_POSTGRESQL = ("timestamp = 'infinity'", "timestamp = '-infinity'", "timestamp = '0044-03-15 BC'")


@pytest.mark.parametrize("change", [*ON_SQLITE, *ON_POSTGRESQL])
async def test_a_row_that_was_made_unreadable_is_named_and_keeps_none_of_the_others_from_being_verified(
    log: AuditLog, database: Database, change: str
) -> None:
    if change not in (ON_SQLITE if database.sqlite else ON_POSTGRESQL):
        pytest.skip("the other database takes no such value")
    await execute(database, f"UPDATE admin_audit_logs SET {change} WHERE event_id = 'e2'")
    found = await flaws(database)
    assert (Flaw.EDITED, 2, "e2") in found
    assert {position for _, position, _ in found} <= {2, 3}


async def test_a_chain_that_is_said_to_begin_beyond_its_end_is_not_whole(log: AuditLog, database: Database) -> None:
    await execute(database, "DELETE FROM admin_audit_logs", f"UPDATE audit_chains SET first_position = {ROWS + 100}")
    assert Flaw.MISLINKED in {flaw for flaw, _, _ in await flaws(database)}


@pytest.mark.parametrize("position", [2**63 - 1, 2**62 + 1])
async def test_a_row_at_the_end_of_all_positions_keeps_nobody_from_writing(
    log: AuditLog, database: Database, position: int
) -> None:
    await execute(database, f"UPDATE admin_audit_logs SET position = {position} WHERE event_id = 'e4'")
    await log.write([entry(5), entry(6)])
    stored = {row.entry.event_id: row.position async for row in log.scan(AuditQuery())}
    assert stored["e5"] == ROWS + 1
    assert {flaw for flaw, _, _ in await flaws(database)} == {Flaw.MISSING, Flaw.INSERTED}


@pytest.mark.parametrize("anchored", [True, False])
async def test_a_backup_that_was_restored_and_written_on_is_found_by_an_anchor(
    log: AuditLog, database: Database, anchored: bool
) -> None:
    (before,) = await log.ends("platform")
    backup = [row async for row in log.scan(AuditQuery()) if (row.position or 0) <= 2]
    await execute(
        database,
        "DELETE FROM admin_audit_logs WHERE position > 2",
        f"UPDATE audit_chains SET position = 2, row_hash = '{backup[-1].row_hash}'",
    )
    assert [flaw for flaw, _, _ in await flaws(database, *([before] if anchored else []))] == (
        [Flaw.TRUNCATED] if anchored else []
    )
    await log.write([entry(number) for number in range(11, 15)])
    assert [(flaw, at) for flaw, at, _ in await flaws(database, *([before] if anchored else []))] == (
        [(Flaw.NOT_ANCHORED, ROWS)] if anchored else []
    )


async def test_a_whole_chain_that_is_gone_is_found_by_an_anchor_and_begun_anew_too(
    log: AuditLog, database: Database
) -> None:
    (before,) = await log.ends("platform")
    await execute(database, "DELETE FROM admin_audit_logs", "DELETE FROM audit_chains")
    assert {flaw for flaw, _, _ in await flaws(database, before)} == {Flaw.TRUNCATED}
    await log.write([entry(number) for number in range(21, 21 + ROWS)])
    assert [(flaw, at) for flaw, at, _ in await flaws(database, before)] == [(Flaw.NOT_ANCHORED, ROWS)]


async def test_two_events_whose_texts_run_into_each_other_have_two_hashes(log: AuditLog, database: Database) -> None:
    await log.write(
        [replace(entry(31), method="GET", endpoint="/a,b"), replace(entry(32), method="GET,/a", endpoint="b")]
    )
    for statement in ("method = 'POST\",\"', endpoint = ''", "role = 'r', principal = ''", "role = NULL || ''"):
        if "NULL" in statement:
            continue
        await execute(database, f"UPDATE admin_audit_logs SET {statement} WHERE event_id = 'e31'")
        assert (Flaw.EDITED, ROWS + 1, "e31") in await flaws(database)
