"""The journal: an answer of yes means that the event is on disk, and nobody waits for ever."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from records.audit_entry import AuditEntry
from records.audit_figures import AuditFigures, Lost
from records.audit_journal import AuditJournal
from records.audit_spool import Spool, SpoolFullError

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def entry(number: int) -> AuditEntry:
    return AuditEntry(NOW, "platform", "/", "GET", "allowed", event_id=f"e{number}")


class SlowSpool(Spool):
    """Writes when it is let, and remembers in what groups; fails with what it is told to fail with."""

    gate: threading.Event
    groups: list[int]
    error: Exception | None = None

    def append(self, records: Sequence[bytes]) -> None:
        self.gate.wait(10)
        self.groups.append(len(records))
        if self.error is not None:
            raise self.error
        super().append(records)


@pytest.fixture
def spool(tmp_path: Path) -> SlowSpool:
    spool = SlowSpool.claim(tmp_path / "platform")
    spool.gate, spool.groups = threading.Event(), []
    return spool


@asynccontextmanager
async def running(
    spool: Spool | None, figures: AuditFigures | None = None, wait_seconds: float = 10.0
) -> AsyncIterator[AuditJournal]:
    journal = AuditJournal(figures or AuditFigures(), wait_seconds=wait_seconds)
    journal.spool = spool
    task = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        if isinstance(spool, SlowSpool):
            spool.gate.set()
        journal.close()
        await task


def kept(spool: Spool) -> list[str]:
    batch = spool.read(1000)
    return [] if batch is None else [orjson.loads(record)["event_id"] for record in batch.records]


async def test_yes_means_that_the_event_is_on_disk(spool: SlowSpool) -> None:
    async with running(spool) as journal:
        answer = journal.record(entry(1))
        await asyncio.sleep(0)
        assert not answer.done()
        assert kept(spool) == []
        spool.gate.set()
        assert await answer
        assert kept(spool) == ["e1"]


async def test_those_that_come_while_the_disk_is_busy_are_written_together_and_in_order(spool: SlowSpool) -> None:
    figures = AuditFigures()
    async with running(spool, figures) as journal:
        answers = [journal.record(entry(0))]
        await asyncio.sleep(0)
        answers += [journal.record(entry(number)) for number in range(1, 100)]
        spool.gate.set()
        assert await asyncio.gather(*answers) == [True] * 100
    assert sum(spool.groups) == 100
    assert len(spool.groups) <= 2
    assert kept(spool) == [f"e{number}" for number in range(100)]
    assert figures.kept == 100


@pytest.mark.parametrize(("error", "why"), [(SpoolFullError(), Lost.SPOOL_FULL), (OSError("disk"), Lost.DISK)])
async def test_what_cannot_be_written_is_refused_and_counted_and_the_next_one_is_tried_again(
    spool: SlowSpool, error: Exception, why: Lost
) -> None:
    figures = AuditFigures()
    spool.gate.set()
    spool.error = error
    async with running(spool, figures) as journal:
        assert not await journal.record(entry(1))
        assert figures.lost[why] == 1
        spool.error = None
        assert await journal.record(entry(2))
    assert kept(spool) == ["e2"]


async def test_nobody_waits_longer_than_is_said_and_what_was_refused_meanwhile_is_not_written(
    spool: SlowSpool,
) -> None:
    figures = AuditFigures()
    async with running(spool, figures, wait_seconds=0.02) as journal:
        first = journal.record(entry(1))
        await asyncio.sleep(0)
        assert list(await asyncio.gather(first, journal.record(entry(2)))) == [False, False]
    assert figures.lost[Lost.SLOW] == 2
    # The first was being written when its time was over.
    assert kept(spool) in (["e1"], [])


async def test_who_goes_away_is_recorded_all_the_same(spool: SlowSpool) -> None:
    async with running(spool) as journal:
        journal.record(entry(1)).cancel()
        spool.gate.set()
    assert kept(spool) == ["e1"]


async def test_what_waits_in_memory_is_bounded(spool: SlowSpool) -> None:
    figures = AuditFigures()
    async with running(spool, figures) as journal:
        answers = [journal.record(entry(number)) for number in range(1500)]
        assert figures.lost[Lost.BUSY] == 1500 - 1024
        spool.gate.set()
        assert sum(await asyncio.gather(*answers)) == 1024


async def test_without_a_spool_and_after_the_end_nothing_is_taken(spool: SlowSpool) -> None:
    figures = AuditFigures()
    async with running(None, figures) as journal:
        assert not await journal.record(entry(1))
    journal.spool = spool
    assert not await journal.record(entry(2))
    assert figures.lost[Lost.NO_SPOOL] == 2


async def test_what_was_taken_is_written_before_the_end(spool: SlowSpool) -> None:
    async with running(spool) as journal:
        answers = [journal.record(entry(number)) for number in range(5)]
    assert await asyncio.gather(*answers) == [True] * 5
    assert kept(spool) == [f"e{number}" for number in range(5)]


async def test_whatever_a_client_sent_can_be_written(spool: SlowSpool) -> None:
    spool.gate.set()
    odd = AuditEntry(NOW, "platform", "/\ud800\n\x00", "GET", "denied", user_agent="\u2028\r\n00000000 {}")
    async with running(spool) as journal:
        assert await journal.record(odd)
    batch = spool.read(10)
    assert batch is not None
    assert (len(batch.records), batch.damaged, batch.torn) == (1, 0, 0)


def refusal(number: int) -> AuditEntry:
    return replace(entry(number), outcome="denied")


async def test_refusals_leave_room_in_memory_for_what_may_pass(spool: SlowSpool) -> None:
    """Anybody can be refused as often as they like; nobody is to be kept out by that."""
    figures = AuditFigures()
    async with running(spool, figures) as journal:
        flood = [journal.record(refusal(number)) for number in range(2000)]
        asked = [journal.record(entry(number)) for number in range(100)]
        assert figures.lost[Lost.BUSY] == 2000 - 768
        spool.gate.set()
        assert await asyncio.gather(*asked) == [True] * 100
        assert sum(await asyncio.gather(*flood)) == 768


async def test_refusals_leave_room_on_disk_for_what_may_pass(tmp_path: Path) -> None:
    small, figures = Spool.claim(tmp_path / "platform", max_bytes=40_000), AuditFigures()
    async with running(small, figures) as journal:
        while await journal.record(refusal(1)):
            pass
        assert figures.lost[Lost.SPOOL_FULL] == 1
        assert 30_000 <= small.bytes_on_disk < 31_000
        assert all([await journal.record(entry(number)) for number in range(10)])
        assert not await journal.record(refusal(2))
    small.close()
