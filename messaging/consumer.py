"""What an agent runs: takes messages, hands them over, and acknowledges what was done."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from messaging.bus import Bus, BusAwayError, Delivery, Message

_LOG: Final = structlog.get_logger(__name__)
# Whoever waits longer asks less often; a stop does not wait for it.
_WAIT: Final = 3.0
_PAUSE: Final = 0.5

Handle = Callable[[Message], Awaitable[None]]


class UnusableError(Exception):
    """Raised by whoever handles a message: trying it again will not help. The text is the reason."""


class Consumer:
    """Handles one recipient's messages, `at_once` of them side by side, until stopped.

    A message that fails is released after `pause` seconds for the next attempt; one that lasts keeps its lease. What is
    being handled when it stops is finished within `grace` seconds, or left to others.
    """

    def __init__(
        self,
        bus: Bus,
        recipient: str,
        name: str,
        handle: Handle,
        *,
        at_once: int = 8,
        lease: float = 30.0,
        pause: float = _PAUSE,
        grace: float = 5.0,
    ) -> None:
        """`name`: as no other consumer of the recipient is called. `lease`: the bus's, in seconds."""
        self._bus, self._recipient, self._name, self._handle = bus, recipient, name, handle
        self._at_once, self._renewal, self._pause, self._grace = at_once, lease / 3, pause, grace
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                taking = asyncio.create_task(self._take())
                await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    await asyncio.gather(taking, return_exceptions=True)
                elif not taking.result():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), self._pause)
        finally:
            stopping.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=self._grace)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> bool:
        """Take what there is room for; False where the bus is away."""
        while len(self._tasks) >= self._at_once:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        try:
            room = self._at_once - len(self._tasks)
            for delivery in await self._bus.receive(self._recipient, self._name, room, _WAIT):
                task = asyncio.create_task(self._one(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except BusAwayError as error:
            _LOG.warning("bus_away", recipient=self._recipient, error=str(error))
            return False
        return True

    async def _one(self, delivery: Delivery) -> None:
        renewing = asyncio.create_task(self._renew(delivery))
        try:
            await self._settle(delivery)
        except BusAwayError as error:
            # Its lease will end, and it will be delivered again.
            _LOG.warning("not_settled", recipient=self._recipient, message=delivery.message.id, error=str(error))
        finally:
            renewing.cancel()

    async def _settle(self, delivery: Delivery) -> None:
        try:
            await self._handle(delivery.message)
        except UnusableError as error:
            await self._bus.reject(delivery, str(error))
        except Exception as error:  # noqa: BLE001 one message must not end what handles the others
            _LOG.warning(
                "message_failed", recipient=self._recipient, message=delivery.message.id, attempt=delivery.attempt,
                error=type(error).__name__,
            )  # fmt: skip
            await asyncio.sleep(self._pause)
            await self._bus.release(delivery)
        else:
            await self._bus.acknowledge(delivery)

    async def _renew(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(self._renewal)
            with contextlib.suppress(BusAwayError):
                if not await self._bus.renew(delivery):
                    return
