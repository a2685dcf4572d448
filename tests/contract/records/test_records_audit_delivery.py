"""From the spool to the database: at least once on the way, and exactly one row in the end."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from records.audit_delivery import AuditDelivery
from records.audit_entry import AuditEntry, storable
from records.audit_figures import AuditFigures
from records.audit_log import AuditLog, AuditQuery, ChainEnd
from records.audit_spool import Spool
from records.audit_verify import AuditVerification, Finding
from records.database import Database
from tests.contract.records.conftest import NOW

ENTRY = AuditEntry(timestamp=NOW, gateway="platform", endpoint="/", method="GET", outcome="allowed", status=200)


def record(number: int) -> bytes:
    return orjson.dumps(storable(replace(ENTRY, event_id=f"e{number}")))


class Failing(AuditLog):
    """Fails as often as it is told, before or after it has written; refuses entries by their ids."""

    failures = 0
    after = False
    refused: frozenset[str] = frozenset()
    conflicts = 0
    writes = 0

    async def write(self, entries: Sequence[AuditEntry]) -> dict[str, ChainEnd]:
        self.writes += 1
        if self.refused & {one.event_id for one in entries}:
            raise DataError("INSERT", {}, Exception("never"))
        if self.conflicts:
            self.conflicts -= 1
            raise IntegrityError("INSERT", {}, Exception("admin_audit_logs_pkey"))
        if self.failures and not self.after:
            self.failures -= 1
            raise OperationalError("INSERT", {}, Exception("away"))
        ends = dict(await super().write(entries))
        if self.failures:
            self.failures -= 1
            raise OperationalError("COMMIT", {}, Exception("lost on the way back"))
        return ends


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.claim(tmp_path / "audit" / "platform")


async def rows(database: Database) -> list[str]:
    return [row.entry.event_id async for row in AuditLog(database).scan(AuditQuery())]


async def deliver(delivery: AuditDelivery, spool: Spool) -> None:
    """Run until all is stored."""
    running = asyncio.create_task(delivery.run())
    async with asyncio.timeout(20):
        while spool.read(1) is not None:
            await asyncio.sleep(0.01)
    # The spool knows of it in a thread of its own, a moment before its figures do.
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})


async def test_every_event_is_one_row_in_the_order_of_the_spool(database: Database, spool: Spool) -> None:
    figures, ends = AuditFigures(), list[ChainEnd]()
    spool.append([record(number) for number in range(1200)])
    await AuditDelivery(spool, AuditLog(database), figures, on_stored=ends.append).deliver_all()
    assert await rows(database) == [f"e{number}" for number in range(1200)]
    assert (figures.stored, spool.read(1)) == (1200, None)
    assert ends[-1].position == 1200


@pytest.mark.parametrize("after", [False, True], ids=["nothing was written", "all was written"])
async def test_a_database_that_fails_is_asked_again_and_no_row_is_doubled(
    database: Database, spool: Spool, after: bool
) -> None:
    figures, log = AuditFigures(), Failing(database)
    log.failures, log.after = 2, after
    spool.append([record(number) for number in range(3)])
    delivery = AuditDelivery(spool, log, figures)
    await deliver(delivery, spool)
    assert await rows(database) == ["e0", "e1", "e2"]
    assert (figures.failures, figures.stored) == (2, 3)


async def test_a_process_that_ended_between_the_row_and_its_note_writes_it_once(
    database: Database, tmp_path: Path, spool: Spool
) -> None:
    spool.append([record(1), record(2)])
    await AuditLog(database).write([replace(ENTRY, event_id="e1")])
    spool.close()
    again = Spool.claim(tmp_path / "audit" / "platform")
    await AuditDelivery(again, AuditLog(database), AuditFigures()).deliver_all()
    assert await rows(database) == ["e1", "e2"]
    found = [one async for one in AuditVerification(database).verify("platform")]
    assert not [one for one in found if isinstance(one, Finding)]


async def test_what_comes_while_it_runs_is_stored_when_it_is_woken(database: Database, spool: Spool) -> None:
    delivery = AuditDelivery(spool, AuditLog(database), AuditFigures())
    running = asyncio.create_task(delivery.run())
    for number in range(3):
        await asyncio.to_thread(spool.append, [record(number)])
        delivery.wake()
        async with asyncio.timeout(20):
            while len(await rows(database)) <= number:
                await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.wait({running})


async def test_an_event_that_the_database_never_takes_is_set_aside_and_keeps_no_other_back(
    database: Database, spool: Spool
) -> None:
    figures, log = AuditFigures(), Failing(database)
    log.refused = frozenset({"e2"})
    spool.append([record(number) for number in range(1, 4)])
    await AuditDelivery(spool, log, figures).deliver_all()
    assert await rows(database) == ["e1", "e3"]
    assert (figures.stored, figures.set_aside) == (2, 1)
    assert orjson.loads((spool.folder / "refused.jsonl").read_bytes())["event_id"] == "e2"


@pytest.mark.parametrize("strange", [b"{}", b"[]", b"no JSON", b'{"timestamp": 1}', b'{"timestamp":"2026-01-01"}'])
async def test_a_record_of_another_make_is_set_aside(database: Database, spool: Spool, strange: bytes) -> None:
    figures = AuditFigures()
    spool.append([record(1), strange, record(2)])
    await AuditDelivery(spool, AuditLog(database), figures).deliver_all()
    assert await rows(database) == ["e1", "e2"]
    assert (figures.stored, figures.set_aside) == (2, 1)
    assert (spool.folder / "refused.jsonl").read_bytes() == strange + b"\n"


async def test_a_spool_whose_file_is_damaged_stores_the_rest_and_counts_once(
    database: Database, tmp_path: Path, spool: Spool
) -> None:
    spool.append([record(number) for number in range(1, 5)])
    spool.close()
    (path,) = spool.folder.glob("*.spool")
    octets = bytearray(path.read_bytes())
    octets[len(octets) // 3] ^= 1
    path.write_bytes(bytes(octets)[:-7])
    again, figures, log = Spool.claim(tmp_path / "audit" / "platform"), AuditFigures(), Failing(database)
    log.failures = 2
    await deliver(AuditDelivery(again, log, figures), again)
    assert await rows(database) == ["e1", "e3"]
    assert (figures.stored, figures.torn, figures.damaged) == (2, 1, 1)
    assert len(list(again.folder.glob("*.damaged"))) == 1


async def test_a_conflict_is_no_fault_of_the_event_and_loses_none(database: Database, spool: Spool) -> None:
    """As after a restored dump: the table's next ids are taken already, for as many rows as it holds."""
    figures, log = AuditFigures(), Failing(database)
    log.conflicts = 3
    spool.append([record(number) for number in range(1, 4)])
    await deliver(AuditDelivery(spool, log, figures), spool)
    assert await rows(database) == ["e1", "e2", "e3"]
    assert (figures.stored, figures.set_aside) == (3, 0)
    assert figures.failures > 0
    assert not (spool.folder / "refused.jsonl").exists()
