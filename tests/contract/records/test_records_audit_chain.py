"""The chain: whoever reaches into the table is found out, and named."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from records.audit_chain import GENESIS, ChainEnd, canonical, row_hash
from records.audit_log import AuditEntry, AuditLog, AuditQuery
from records.audit_retention import AuditRetention
from records.audit_verify import Anchors, AuditVerification, Finding, Flaw, Verified
from records.database import Database
from tests.contract.records.conftest import NOW

ROOT = Path(__file__).resolve().parents[3]
ROWS = 9
ENTRY = AuditEntry(timestamp=NOW, gateway="platform", endpoint="/api/platform/admin", method="POST", outcome="allowed")


def entry(number: int, **change: object) -> AuditEntry:
    return replace(ENTRY, event_id=f"e{number}", timestamp=NOW + timedelta(seconds=number), **change)  # type: ignore[arg-type]


@pytest.fixture
async def log(database: Database) -> AuditLog:
    """A chain of nine rows, in the order of their numbers, with another gateway's between them."""
    log = AuditLog(database)
    for number in range(1, ROWS + 1):
        await log.write([entry(number), entry(100 + number, gateway="central")])
    return log


async def execute(database: Database, *statements: str) -> None:
    async with database.writing() as session:
        for statement in statements:
            await session.execute(text(statement))


async def verify(
    database: Database, ends: Iterable[ChainEnd] = (), checkpoints: Iterable[ChainEnd] = ()
) -> tuple[list[Finding], Verified]:
    anchors = Anchors(tuple(ends), tuple(checkpoints))
    found = [one async for one in AuditVerification(database).verify("platform", anchors)]
    assert isinstance(found[-1], Verified)
    return [one for one in found if isinstance(one, Finding)], found[-1]


async def flaws(
    database: Database, ends: Iterable[ChainEnd] = (), checkpoints: Iterable[ChainEnd] = ()
) -> list[tuple[Flaw, int | None]]:
    return [(one.flaw, one.position) for one in (await verify(database, ends, checkpoints))[0]]


async def end_of(log: AuditLog) -> ChainEnd:
    (end,) = await log.ends("platform")
    return end


async def test_a_chain_that_nobody_touched_has_no_flaw(log: AuditLog, database: Database) -> None:
    findings, verified = await verify(database, [await end_of(log)])
    assert findings == []
    assert (verified.rows, verified.first_position, verified.end.position) == (ROWS, 1, ROWS)
    assert await AuditVerification(database).gateways() == {"platform", "central"}


async def test_the_hash_of_a_row_can_be_computed_by_anybody(log: AuditLog) -> None:
    row = (await log.find(AuditQuery(gateway="platform")))[-2]
    form = json.dumps(
        [
            "apibank-audit-1", row.prev_hash, "platform", 2, "e2", "2026-11-22T12:00:02.123456+00:00",
            "/api/platform/admin", "POST", None, "allowed", *[""] * 9,
        ],
        separators=(",", ":"),
    )  # fmt: skip
    assert row.row_hash == hashlib.sha256(form.encode()).hexdigest()
    assert canonical(row.entry, 2, row.prev_hash or "") == form.encode()


@pytest.mark.parametrize(
    "change",
    [
        "principal = 'sub:other'", "outcome = 'denied'", "status = 200", "endpoint = '/'", "method = 'GET'",
        "reason = 'x'", "ip = '::1'", "user_agent = 'x'", "request_id = 'x'", "policy_version = 'x'", "role = 'x'",
        "credential_id = 'x'", "route = 'x'", "event_id = 'x'", "timestamp = '2020-01-01 00:00:00.000000'",
    ],
)  # fmt: skip
async def test_an_edited_row_is_found_and_named_whatever_was_edited(
    log: AuditLog, database: Database, change: str
) -> None:
    await execute(database, f"UPDATE admin_audit_logs SET {change} WHERE event_id = 'e4'")
    (finding,) = (await verify(database))[0]
    (row,) = [one for one in await log.find(AuditQuery(gateway="platform")) if one.position == 4]
    assert (finding.flaw, finding.position, finding.row_id) == (Flaw.EDITED, 4, row.row_id)
    assert finding.event_id == row.entry.event_id


async def test_an_edited_row_whose_hash_was_made_anew_does_not_lead_to_the_next(
    log: AuditLog, database: Database
) -> None:
    (row,) = [one for one in await log.find(AuditQuery(gateway="platform")) if one.position == 4]
    forged = row_hash(replace(row.entry, outcome="denied"), 4, row.prev_hash or "")
    await execute(
        database, f"UPDATE admin_audit_logs SET outcome = 'denied', row_hash = '{forged}' WHERE event_id = 'e4'"
    )
    assert await flaws(database) == [(Flaw.MISLINKED, 5)]


@pytest.mark.parametrize(("gone", "first"), [("'e4'", 4), ("'e4', 'e5', 'e6'", 4), ("'e1'", 1), ("'e1', 'e2'", 1)])
async def test_a_deleted_row_is_found(log: AuditLog, database: Database, gone: str, first: int) -> None:
    await execute(database, f"DELETE FROM admin_audit_logs WHERE event_id IN ({gone})")
    assert await flaws(database) == [(Flaw.MISSING, first)]


async def test_a_deleted_tail_is_found(log: AuditLog, database: Database) -> None:
    await execute(database, "DELETE FROM admin_audit_logs WHERE event_id IN ('e8', 'e9')")
    (finding,) = (await verify(database))[0]
    assert (finding.flaw, finding.position) == (Flaw.TRUNCATED, 8)
    assert "2 rows, 8 to 9" in finding.detail


@pytest.mark.parametrize("all_rows", [False, True])
async def test_a_deleted_tail_whose_end_was_moved_back_is_found_by_an_anchor(
    log: AuditLog, database: Database, all_rows: bool
) -> None:
    anchor = await end_of(log)
    (row,) = [one for one in await log.find(AuditQuery(gateway="platform")) if one.position == 7]
    if all_rows:
        await execute(
            database,
            "DELETE FROM admin_audit_logs WHERE gateway = 'platform'",
            "DELETE FROM audit_chains WHERE gateway = 'platform'",
        )
    else:
        await execute(
            database,
            "DELETE FROM admin_audit_logs WHERE event_id IN ('e8', 'e9')",
            f"UPDATE audit_chains SET position = 7, row_hash = '{row.row_hash}' WHERE gateway = 'platform'",
        )
    assert await flaws(database) == []
    assert await flaws(database, [anchor]) == [(Flaw.TRUNCATED, 1 if all_rows else 8)]


async def test_a_chain_that_was_written_anew_is_found_by_an_anchor(log: AuditLog, database: Database) -> None:
    anchor = await end_of(log)
    await execute(
        database,
        "DELETE FROM admin_audit_logs WHERE gateway = 'platform'",
        "DELETE FROM audit_chains WHERE gateway = 'platform'",
    )
    await log.write([entry(number, outcome="denied") for number in range(1, ROWS + 3)])
    assert await flaws(database) == []
    assert await flaws(database, [anchor]) == [(Flaw.NOT_ANCHORED, ROWS)]


async def test_rows_that_changed_places_are_found(log: AuditLog, database: Database) -> None:
    await execute(
        database,
        "UPDATE admin_audit_logs SET position = 99 WHERE event_id = 'e3'",
        "UPDATE admin_audit_logs SET position = 3 WHERE event_id = 'e4'",
        "UPDATE admin_audit_logs SET position = 4 WHERE event_id = 'e3'",
    )
    found = await flaws(database)
    assert {(Flaw.EDITED, 3), (Flaw.EDITED, 4), (Flaw.REORDERED, 4)} <= set(found)


async def test_a_row_that_is_listed_elsewhere_than_it_was_written_is_found(log: AuditLog, database: Database) -> None:
    await execute(database, "UPDATE admin_audit_logs SET id = 1000 WHERE event_id = 'e3'")
    assert (Flaw.REORDERED, 4) in await flaws(database)


INSERT = (
    "INSERT INTO admin_audit_logs (event_id, timestamp, gateway, endpoint, method, outcome, reason, principal, ip,"
    " user_agent, request_id, policy_version, position, prev_hash, row_hash) SELECT 'forged', timestamp, gateway,"
    " endpoint, method, outcome, reason, principal, ip, user_agent, request_id, policy_version, {position}, prev_hash,"
    " row_hash FROM admin_audit_logs WHERE event_id = 'e5'"
)


@pytest.mark.parametrize("position", ["NULL", "10", "1000", "0"])
async def test_a_row_that_somebody_added_is_found(log: AuditLog, database: Database, position: str) -> None:
    await execute(database, INSERT.format(position=position))
    (finding,) = (await verify(database))[0]
    assert (finding.flaw, finding.event_id) == (Flaw.INSERTED, "forged")


async def test_a_row_cannot_take_a_place_that_is_taken(log: AuditLog, database: Database) -> None:
    with pytest.raises(Exception, match=r"(?i)unique"):
        await execute(database, INSERT.format(position=5))


async def test_rows_without_a_record_of_their_chain_are_found_and_written_on(log: AuditLog, database: Database) -> None:
    await execute(database, "DELETE FROM audit_chains WHERE gateway = 'platform'")
    assert (Flaw.TRUNCATED, None) in await flaws(database)
    await log.write([entry(10)])
    assert await flaws(database) == []
    assert (await end_of(log)).position == 10


async def test_writing_goes_on_where_somebody_moved_the_end_back_and_leaves_the_gap_where_rows_are_gone(
    log: AuditLog, database: Database
) -> None:
    await execute(database, "UPDATE audit_chains SET position = 3 WHERE gateway = 'platform'")
    await log.write([entry(10)])
    assert (await end_of(log)).position == 10
    await execute(database, "DELETE FROM admin_audit_logs WHERE event_id IN ('e9', 'e10')")
    await log.write([entry(11)])
    assert await flaws(database) == [(Flaw.MISSING, 9)]


async def test_writers_of_one_gateway_in_many_processes_make_one_chain(database: Database, url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from datetime import UTC, datetime\n"
        "from records.audit_log import AuditEntry, AuditLog\n"
        "from records.database import Database\n"
        "async def main(url, name):\n"
        "    async with Database(url) as database:\n"
        "        for batch in range(20):\n"
        "            await AuditLog(database).write([\n"
        "                AuditEntry(datetime.now(UTC), g, '/', 'GET', 'allowed', event_id=f'{g}-{name}-{batch}-{n}')\n"
        "                for n in range(3) for g in ('platform', 'central')\n"
        "            ])\n"
        "asyncio.run(main(sys.argv[1], sys.argv[2]))\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, url, str(name), cwd=ROOT, stderr=asyncio.subprocess.PIPE
        )
        for name in range(3)
    ]
    assert [((await one.communicate())[1].decode(), one.returncode) for one in processes] == [("", 0)] * 3
    findings, verified = await verify(database)
    assert (findings, verified.rows) == ([], 180)


async def test_old_rows_are_removed_and_the_rest_is_verified_from_where_it_begins(
    log: AuditLog, database: Database
) -> None:
    early, late = ChainEnd("platform", 2, "0" * 64), await end_of(log)
    pruned = await AuditRetention(database).prune("platform", NOW + timedelta(seconds=5))
    assert pruned is not None
    assert (pruned.removed, pruned.first_position) == (4, 5)
    checkpoint = ChainEnd("platform", 4, pruned.first_prev_hash)
    findings, verified = await verify(database, [early, late], [checkpoint])
    assert (findings, verified.rows, verified.first_position) == ([], 5, 5)
    assert (verified.anchors, verified.unchecked) == (3, 1)
    await log.write([entry(10)])
    assert await flaws(database, [late], [checkpoint]) == []
    await execute(database, "DELETE FROM admin_audit_logs WHERE event_id = 'e5'")
    assert await flaws(database) == [(Flaw.MISSING, 5)]


async def test_a_checkpoint_shows_whether_the_beginning_was_moved(log: AuditLog, database: Database) -> None:
    await AuditRetention(database).prune("platform", NOW + timedelta(seconds=5))
    (checkpoint,) = await log.beginnings("platform")
    assert checkpoint.position == 4
    assert await flaws(database, (), [checkpoint]) == []
    await execute(database, f"UPDATE audit_chains SET first_prev_hash = '{GENESIS}' WHERE gateway = 'platform'")
    assert await flaws(database, (), [checkpoint]) == [
        (Flaw.CUT, 1),
        (Flaw.NOT_ANCHORED, 5),
        (Flaw.MISLINKED, 5),
    ]


@pytest.mark.parametrize("kept", [0, 4])
async def test_rows_that_somebody_took_away_as_if_they_were_too_old_are_found_by_any_anchor(
    log: AuditLog, database: Database, kept: int
) -> None:
    end, gone = await end_of(log), ROWS - kept
    (row,) = [one for one in await log.find(AuditQuery(gateway="platform")) if one.position == gone]
    await execute(
        database,
        f"DELETE FROM admin_audit_logs WHERE gateway = 'platform' AND position <= {gone}",
        f"UPDATE audit_chains SET first_position = {gone + 1}, first_prev_hash = '{row.row_hash}'"
        " WHERE gateway = 'platform'",
    )
    assert await flaws(database) == []
    assert await flaws(database, [end]) == [(Flaw.CUT, 1)]


async def test_all_rows_can_be_removed_and_the_chain_goes_on(log: AuditLog, database: Database) -> None:
    end = await end_of(log)
    pruned = await AuditRetention(database).prune("platform", NOW + timedelta(days=1))
    assert pruned is not None
    assert (pruned.removed, pruned.first_position, pruned.first_prev_hash) == (ROWS, ROWS + 1, end.row_hash)
    await log.write([entry(10)])
    assert await flaws(database, [end], [end]) == []
    assert await AuditRetention(database).prune("unknown", NOW) is None


async def test_whatever_texts_a_row_holds_its_hash_is_that_of_what_is_read(log: AuditLog, database: Database) -> None:
    texts = [
        "", " ", " a  ", "\\", "\"'`", "\x00", "\ud800", "\udfff", "\uffff", "\U0010ffff", "e\u0301", "\u00e9",
        "\u202e", "\ufeff", "a\r\nb", "\x1b[0m", "%s %(x)s :x", "{}", "\u00df" * 600, "\ud83d", "NULL", "\t",
    ]  # fmt: skip
    await log.write([entry(200 + number, endpoint=text, user_agent=text) for number, text in enumerate(texts)])
    findings, verified = await verify(database)
    assert (findings, verified.rows) == ([], ROWS + len(texts))
