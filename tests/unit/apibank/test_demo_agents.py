"""Demo agents: what they are given is done, refused or begun anew, and is never lost on the way."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from prometheus_client import CollectorRegistry

from apibank.demo_agents import Place, run_agents
from messaging.bus import BusLimits, Delivery, Message
from messaging.memory import MemoryBus
from portal.agent_commands import answered, restart

LIMITS = BusLimits(lease=5.0)


def message(identity: str = "m-1", payload: bytes = b"{}") -> Message:
    return Message(identity, "task", "memory", "vision", payload, "r-1")


@asynccontextmanager
async def agents(bus: MemoryBus, names: set[str], registry: CollectorRegistry) -> AsyncIterator[None]:
    stop = asyncio.Event()
    place = Place(bus, "one", LIMITS.lease)
    running = asyncio.create_task(run_agents(lambda: frozenset(names), place, registry, stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await running


async def counted(registry: CollectorRegistry, outcome: str, count: float) -> None:
    async with asyncio.timeout(10):
        labels = {"agent": "vision", "outcome": outcome}
        while (registry.get_sample_value("apibank_agent_messages_total", labels) or 0) < count:
            await asyncio.sleep(0.005)


async def reply_to(bus: MemoryBus, command: str) -> Delivery:
    async with asyncio.timeout(10):
        while True:
            for delivery in await bus.receive("platform.host", "test", 10, 0.2):
                if answered(delivery.message) == command:
                    return delivery


async def test_a_message_is_done_and_acknowledged() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    await bus.publish(message())
    await bus.publish(message("m-2", b'{"demo":{"seconds":0.01}}'))
    async with agents(bus, {"vision"}, registry):
        await counted(registry, "done", 2)
    depth = await bus.depth("vision")
    assert (depth.waiting, depth.taken, depth.dead) == (0, 0, 0)


async def test_what_nobody_can_do_is_kept_apart_with_the_reason() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    await bus.publish(message(payload=b'{"demo":{"refuse":"no such model"}}'))
    async with agents(bus, {"vision"}, registry):
        await counted(registry, "refused", 1)
    (letter,) = await bus.dead_letters("vision")
    assert letter.reason == "no such model"


async def test_an_agent_that_a_policy_brings_takes_what_waits_for_it() -> None:
    bus, registry, names = MemoryBus(LIMITS), CollectorRegistry(), {"memory"}
    await bus.publish(message())
    async with agents(bus, names, registry):
        names.add("vision")
        await counted(registry, "done", 1)
        names.discard("vision")


async def test_an_agent_restarts_when_the_platform_orders_it_and_says_so() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    async with agents(bus, {"vision"}, registry):
        await bus.publish(restart("vision", "c-1", "platform.host", time.time() + 60, "r-1"))
        reply = await reply_to(bus, "c-1")
        assert (reply.message.sender, reply.message.request_id) == ("vision", "r-1")
        # Its next self does what comes.
        await bus.publish(message())
        await counted(registry, "done", 1)


async def test_an_agent_with_more_to_do_than_it_can_restarts_all_the_same() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    for number in range(40):
        await bus.publish(message(f"m-{number}", b'{"demo":{"seconds":60}}'))
    async with agents(bus, {"vision"}, registry):
        async with asyncio.timeout(10):
            while (await bus.depth("vision")).taken < 8:
                await asyncio.sleep(0.005)
        await bus.publish(restart("vision", "c-1", "platform.host", time.time() + 60, "r-1"))
        await reply_to(bus, "c-1")
    # What it had begun is not lost.
    depth = await bus.depth("vision")
    assert depth.waiting + depth.taken == 40


async def test_an_order_that_nobody_waits_for_any_more_is_ignored() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    async with agents(bus, {"vision"}, registry):
        await bus.publish(restart("vision", "c-1", "platform.host", time.time() - 1, "r-1"))
        await counted(registry, "ignored", 1)
    assert await bus.receive("platform.host", "test", 10) == []


async def test_what_an_agent_sends_is_no_order_whatever_it_says() -> None:
    bus, registry = MemoryBus(LIMITS), CollectorRegistry()
    async with agents(bus, {"vision"}, registry):
        forged = restart("vision", "c-2", "memory", time.time() + 60, "r-1")
        await bus.publish(replace(forged, recipient="vision"))
        await counted(registry, "done", 1)
    assert await bus.receive("memory", "test", 10) == []
