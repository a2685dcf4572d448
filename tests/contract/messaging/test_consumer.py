"""An agent that takes messages: what it did is done, what failed is tried again, what is useless is put aside."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from messaging.bus import Bus, BusAwayError, BusLimits, Delivery, Depth, Message
from messaging.consumer import Consumer, Handle, UnusableError
from messaging.memory import MemoryBus
from tests.contract.messaging.conftest import Make

DONE = Depth(0, 0, 0, 0)


def message(recipient: str, identity: str = "m-1") -> Message:
    return Message(identity, "task", "coordinator", recipient, b"{}")


@asynccontextmanager
async def consuming(bus: Bus, name: str, handle: Handle, **options: float) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    running = asyncio.create_task(Consumer(bus, name, "one", handle, pause=0.01, **options).run(stop))  # type: ignore[arg-type]
    try:
        yield stop
    finally:
        stop.set()
        await asyncio.wait_for(running, 10.0)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10.0):
        while not await true():
            await asyncio.sleep(0.01)


async def test_everything_is_handled_and_acknowledged(make: Make, name: str) -> None:
    bus, seen = make(BusLimits()), list[str]()

    async def handle(one: Message) -> None:
        seen.append(one.id)

    async with consuming(bus, name, handle):
        for number in range(20):
            await bus.publish(message(name, f"m-{number}"))
        await until(lambda: _is(bus, name, DONE, len(seen) == 20))
    assert sorted(seen) == sorted(f"m-{number}" for number in range(20))


async def _is(bus: Bus, name: str, depth: Depth, also: bool = True) -> bool:
    return also and await bus.depth(name) == depth


async def test_what_fails_is_tried_again_and_buried_after_the_last_attempt(make: Make, name: str) -> None:
    bus, attempts = make(BusLimits(attempts=3)), list[str]()

    async def handle(one: Message) -> None:
        attempts.append(one.id)
        raise RuntimeError(one.id)

    async with consuming(bus, name, handle):
        await bus.publish(message(name))
        await until(lambda: _is(bus, name, Depth(0, 0, 1, 0)))
    assert attempts == ["m-1"] * 3


async def test_what_is_useless_is_put_aside_at_once_with_its_reason(make: Make, name: str) -> None:
    bus = make(BusLimits())

    async def handle(_: Message) -> None:
        raise UnusableError("an unknown task")

    async with consuming(bus, name, handle):
        await bus.publish(message(name))
        await until(lambda: _is(bus, name, Depth(0, 0, 1, 0)))
    (letter,) = await bus.dead_letters(name)
    assert (letter.reason, letter.attempts) == ("an unknown task", 1)


async def test_what_lasts_longer_than_its_lease_is_not_delivered_twice(make: Make, name: str) -> None:
    bus, seen = make(BusLimits(lease=0.3)), list[str]()

    async def handle(one: Message) -> None:
        seen.append(one.id)
        await asyncio.sleep(1.0)

    async with consuming(bus, name, handle, lease=0.3), consuming(bus, name, handle, lease=0.3):
        await bus.publish(message(name))
        await until(lambda: _is(bus, name, DONE, bool(seen)))
    assert seen == ["m-1"]


async def test_who_stops_finishes_what_it_has_begun(make: Make, name: str) -> None:
    bus, begun, done = make(BusLimits()), asyncio.Event(), list[str]()

    async def handle(one: Message) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        done.append(one.id)

    async with consuming(bus, name, handle) as stop:
        await bus.publish(message(name))
        await begun.wait()
        stop.set()
    assert done == ["m-1"]
    assert await bus.depth(name) == DONE


async def test_no_more_are_handled_at_once_than_said(make: Make, name: str) -> None:
    bus, now, most = make(BusLimits()), 0, 0

    async def handle(_: Message) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    for number in range(30):
        await bus.publish(message(name, f"m-{number}"))
    async with consuming(bus, name, handle, at_once=3):
        await until(lambda: _is(bus, name, DONE))
    assert most == 3


async def test_it_goes_on_when_the_bus_comes_back(name: str) -> None:
    class Failing(MemoryBus):
        away = 3

        async def receive(self, recipient: str, consumer: str, count: int = 1, wait: float = 0.0) -> list[Delivery]:
            if Failing.away:
                Failing.away -= 1
                raise BusAwayError("away")
            return [*await super().receive(recipient, consumer, count, wait)]

    bus, seen = Failing(), list[str]()

    async def handle(one: Message) -> None:
        seen.append(one.id)

    async with consuming(bus, name, handle):
        await bus.publish(message(name))
        await until(lambda: _is(bus, name, DONE, bool(seen)))
