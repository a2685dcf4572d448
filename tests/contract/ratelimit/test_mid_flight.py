"""Connections that end while a charge is under way: whatever happens, it is made once at most, and never sent again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratelimit.algorithms import SlidingWindow
from ratelimit.store import Charge, CounterStore, Outcome, Unavailable
from tests.contract.ratelimit.stores import opened, remaining
from tests.support.redis_servers import HOST, Server, one_server

CHARGE = Charge(b"rl:{test}:one", SlidingWindow(1_000_000, 86_400_000_000))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with one_server() as running:
        yield running


class Wire:
    """Between a store and its server: ends connections before a charge arrives, or before its answer does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.sent = 0
        # Of the n-th charge that passes: None, "before", or "after".
        self.cut: Callable[[int], str | None] = lambda _: None

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(HOST, self._port)
        try:
            while request := await reader.read(1 << 20):
                cut = None
                if b"EVALSHA" in request:
                    self.sent += 1
                    cut = self.cut(self.sent)
                if cut == "before":
                    return
                up_writer.write(request)
                answer = await up_reader.read(1 << 20)
                if cut == "after":
                    return
                writer.write(answer)
        except OSError:
            return
        finally:
            up_writer.close()
            writer.close()


@asynccontextmanager
async def over(server: Server, timeout: float = 10) -> AsyncIterator[tuple[CounterStore, Wire]]:
    with server.client() as client:
        client.flushall()
    wire = Wire(server.port)
    listening = await asyncio.start_server(wire.carry, HOST, 0)
    port = listening.sockets[0].getsockname()[1]
    async with opened(f"redis://{HOST}:{port}/0", timeout) as store:
        yield store, wire
    listening.close()


async def charged(server: Server) -> int:
    async with opened(f"redis://{HOST}:{server.port}/0") as store:
        return 1_000_000 - (await remaining(store, CHARGE))[0]


async def tried(store: CounterStore) -> bool:
    """Whether it was decided. After two losses the store is left alone for a moment."""
    while True:
        outcome = await store.charge((CHARGE,))
        if isinstance(outcome, Outcome):
            return True
        if isinstance(outcome, Unavailable):
            await asyncio.sleep(0.21)
            return False


@given(st.lists(st.sampled_from([None, "before", "after"]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_charge_is_made_once_where_its_answer_came_and_once_at_most_where_not(
    server: Server, cuts: list[str | None]
) -> None:
    async def drive() -> None:
        async with over(server) as (store, wire):
            # The script is known from here on.
            assert await tried(store)
            before, expected = wire.sent, 1
            wire.cut = lambda number: cuts[number - before - 1]
            for number, cut in enumerate(cuts):
                assert await tried(store) is (cut is None)
                assert wire.sent == before + number + 1
                expected += cut != "before"
        assert await charged(server) == expected

    asyncio.run(drive())


async def test_a_server_that_has_to_be_told_the_script_charges_once(server: Server) -> None:
    async with over(server) as (store, wire):
        for number in range(1, 4):
            with server.client() as client:
                client.script_flush()
            assert await tried(store)
            assert wire.sent == 2 * number
        assert await charged(server) == 3


async def test_answers_that_come_too_late_are_nobody_elses(server: Server) -> None:
    async with over(server, timeout=0.5) as (store, _):
        assert await tried(store)
        with server.paused():
            assert not await tried(store)
        decided = 1
        for _ in range(20):
            outcome = await store.charge((CHARGE,))
            decided += isinstance(outcome, Outcome)
            await asyncio.sleep(0.05)
        # The one that nobody was told of may have been made when the server woke.
        assert await charged(server) in {decided, decided + 1}
