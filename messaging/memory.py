"""A bus in one process's memory: exact, and gone with the process. For one machine, and for tests."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from messaging.bus import (
    OUT_OF_ATTEMPTS,
    BusLimits,
    DeadLetter,
    Delivery,
    Depth,
    IdConflictError,
    Message,
    QueueFullError,
    Receipt,
    check_message,
    check_recipient,
)

_LONGEST_WAIT: Final = 1.0


@dataclass(slots=True)
class _Taken:
    message: Message
    consumer: str
    attempt: int
    until: float


@dataclass(slots=True)
class _Queue:
    waiting: OrderedDict[str, Message] = field(default_factory=OrderedDict)
    taken: OrderedDict[str, _Taken] = field(default_factory=OrderedDict)
    dead: OrderedDict[str, DeadLetter] = field(default_factory=OrderedDict)
    dropped: int = 0
    # When each consumer asked last, by its name.
    asked: dict[str, float] = field(default_factory=dict)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)


class MemoryBus:
    """`messaging.bus.Bus`. Positions are numbers of six digits and more, in the order of publishing."""

    def __init__(self, limits: BusLimits | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._limits = limits or BusLimits()
        self._clock = clock
        self._queues: dict[str, _Queue] = {}
        # By sender and id: the digest, the position, and until when it is remembered; the oldest first.
        self._known: OrderedDict[tuple[str, str], tuple[str, str, float]] = OrderedDict()
        self._last = 0

    async def publish(self, message: Message) -> Receipt:
        check_message(message, self._limits)
        now = self._clock()
        while self._known and next(iter(self._known.values()))[2] <= now:
            self._known.popitem(last=False)
        name = (message.sender, message.id)
        if (known := self._known.get(name)) is not None:
            if known[0] != message.digest:
                raise IdConflictError(f"{message.sender} has said something else as {message.id!r}")
            return Receipt(known[1], repeated=True)
        position = self._add(message)
        self._known[name] = (message.digest, position, now + self._limits.remembered)
        return Receipt(position)

    async def receive(self, recipient: str, consumer: str, count: int = 1, wait: float = 0.0) -> Sequence[Delivery]:
        queue, deadline = self._queue(recipient), self._clock() + wait
        while True:
            queue.asked[consumer] = self._clock()
            found = self._take(queue, consumer, count)
            left = deadline - self._clock()
            if found or left <= 0:
                return found
            queue.arrived.clear()
            try:
                # Leases end meanwhile, too.
                await asyncio.wait_for(queue.arrived.wait(), min(left, _LONGEST_WAIT, self._limits.lease))
            except TimeoutError:
                continue

    async def acknowledge(self, delivery: Delivery) -> bool:
        return self._queue(delivery.message.recipient).taken.pop(delivery.position, None) is not None

    async def renew(self, delivery: Delivery) -> bool:
        if (taken := self._mine(delivery)) is None:
            return False
        taken.until = self._clock() + self._limits.lease
        return True

    async def release(self, delivery: Delivery) -> bool:
        if (taken := self._mine(delivery)) is None:
            return False
        taken.until = self._clock()
        self._queue(delivery.message.recipient).arrived.set()
        return True

    async def reject(self, delivery: Delivery, reason: str) -> bool:
        if (taken := self._mine(delivery)) is None:
            return False
        self._bury(self._queue(delivery.message.recipient), delivery.position, taken, reason)
        return True

    async def depth(self, recipient: str) -> Depth:
        queue = self._queue(recipient)
        return Depth(len(queue.waiting), len(queue.taken), len(queue.dead), queue.dropped)

    async def consumers(self, recipient: str, within: float) -> int:
        since = self._clock() - within
        return sum(asked >= since for asked in self._queue(recipient).asked.values())

    async def dead_letters(self, recipient: str, count: int = 100) -> Sequence[DeadLetter]:
        return list(self._queue(recipient).dead.values())[:count]

    async def revive(self, recipient: str, position: str) -> bool:
        letter = self._queue(recipient).dead.get(position)
        if letter is None:
            return False
        self._add(letter.message)
        return await self.discard(recipient, position)

    async def discard(self, recipient: str, position: str) -> bool:
        return self._queue(recipient).dead.pop(position, None) is not None

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        self._queues.clear()

    def _queue(self, recipient: str) -> _Queue:
        return self._queues.setdefault(check_recipient(recipient), _Queue())

    def _add(self, message: Message) -> str:
        queue = self._queue(message.recipient)
        if len(queue.waiting) + len(queue.taken) >= self._limits.capacity:
            raise QueueFullError(f"{message.recipient} has {self._limits.capacity} messages that are not acknowledged")
        position = self._next()
        queue.waiting[position] = message
        queue.arrived.set()
        return position

    def _next(self) -> str:
        self._last += 1
        return f"{self._last:06}"

    def _take(self, queue: _Queue, consumer: str, count: int) -> list[Delivery]:
        now, found = self._clock(), list[Delivery]()
        for position, taken in [*queue.taken.items()]:
            if len(found) == count:
                break
            if taken.until > now:
                continue
            if taken.attempt >= self._limits.attempts:
                self._bury(queue, position, taken, OUT_OF_ATTEMPTS)
                continue
            taken.attempt, taken.consumer, taken.until = taken.attempt + 1, consumer, now + self._limits.lease
            found.append(Delivery(taken.message, position, consumer, taken.attempt))
        while queue.waiting and len(found) < count:
            position, message = queue.waiting.popitem(last=False)
            queue.taken[position] = _Taken(message, consumer, 1, now + self._limits.lease)
            found.append(Delivery(message, position, consumer, 1))
        return found

    def _mine(self, delivery: Delivery) -> _Taken | None:
        taken = self._queue(delivery.message.recipient).taken.get(delivery.position)
        return taken if taken is not None and taken.consumer == delivery.consumer else None

    def _bury(self, queue: _Queue, position: str, taken: _Taken, reason: str) -> None:
        del queue.taken[position]
        while len(queue.dead) >= self._limits.dead_letters:
            queue.dead.popitem(last=False)
            queue.dropped += 1
        dead = self._next()
        queue.dead[dead] = DeadLetter(taken.message, dead, reason, taken.attempt)
