"""What is to be written waits for the database, in order and within a bound."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import DataError

from apibank import journal
from apibank.journal import Journal


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_PAUSES", (0.001,))


class Database:
    """Loses the connection a few times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.written: list[int] = []

    def write(self, number: int) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("connection refused")
            self.written.append(number)

        return write


async def run_until(one: Journal, done: Callable[[], bool]) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.001)
    stop.set()
    await running


async def test_writes_are_done_in_order_and_again_until_the_database_takes_them() -> None:
    one, database = Journal(CollectorRegistry()), Database(failures=3)
    for number in range(3):
        one.write(database.write(number))
    await run_until(one, lambda: len(database.written) == 3)
    assert database.written == [0, 1, 2]


async def test_a_database_that_stays_away_costs_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = CollectorRegistry()
    one, database = Journal(registry), Database(failures=0)
    for number in range(1003):
        one.write(database.write(number))
    assert one.waiting == 1000
    assert registry.get_sample_value("apibank_history_lost_total") == 3
    await run_until(one, lambda: one.waiting == 0)
    assert database.written[0] == 3


async def test_what_waits_at_the_end_is_tried_once_more() -> None:
    one, database = Journal(CollectorRegistry()), Database(failures=0)
    stop = asyncio.Event()
    stop.set()
    one.write(database.write(1))
    await one.run(stop)
    assert database.written == [1]


async def test_a_write_that_will_never_be_taken_is_lost_alone() -> None:
    registry = CollectorRegistry()
    one, database = Journal(registry), Database(failures=0)

    async def unreadable() -> None:
        raise OverflowError("too large an integer")

    async def refused() -> None:
        raise DataError("statement", {}, ValueError("out of range"))

    one.write(unreadable)
    one.write(refused)
    one.write(database.write(1))
    await run_until(one, lambda: database.written == [1])
    assert registry.get_sample_value("apibank_history_lost_total") == 2
