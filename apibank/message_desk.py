"""What the commands on messages do with the bus, one call each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from apibank.message_bus import MEMORY, open_bus
from messaging.bus import Bus, BusAwayError, QueueFullError
from portal.agent_state import ACTIVE_SECONDS

T = TypeVar("T")


class MessageDeskError(Exception):
    """What was asked cannot be done; the text says why."""


def with_bus(store: str, work: Callable[[Bus], Awaitable[T]]) -> T:
    """Do something with the bus. Raises MessageDeskError where it cannot be reached."""

    async def run() -> T:
        bus = open_bus(store)
        try:
            return await work(bus)
        finally:
            await bus.close()

    if store == MEMORY:
        raise MessageDeskError("the bus is in another process's memory: nobody else can look into it")
    try:
        return asyncio.run(run())
    except BusAwayError as error:
        raise MessageDeskError(str(error)) from error
    except QueueFullError as error:
        raise MessageDeskError(f"{error}: it stays where it is") from error
    except ValueError as error:
        raise MessageDeskError(str(error)) from error


async def queues(bus: Bus, names: Sequence[str]) -> list[dict[str, str | int]]:
    """What waits for whom, and whether anybody takes it."""
    rows: list[dict[str, str | int]] = []
    for name in names:
        depth, consumers = await bus.depth(name), await bus.consumers(name, ACTIVE_SECONDS)
        rows.append(
            {
                "agent": name,
                "consumers": consumers,
                "waiting": depth.waiting,
                "taken": depth.taken,
                "dead": depth.dead,
                "dropped": depth.dropped,
            }
        )
    return rows


async def letters(bus: Bus, name: str, count: int) -> list[dict[str, str | int]]:
    """Dead letters of one agent, the oldest first."""
    return [
        {
            "position": letter.position,
            "id": letter.message.id,
            "type": letter.message.type,
            "sender": letter.message.sender,
            "attempts": letter.attempts,
            "reason": letter.reason,
            "request_id": letter.message.request_id,
            "payload": letter.message.payload.decode(errors="replace"),
        }
        for letter in await bus.dead_letters(name, count)
    ]
