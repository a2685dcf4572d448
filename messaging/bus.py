"""Messages between agents: queued per recipient, delivered at least once, never dropped without somebody being told.

A message stays on its recipient's queue until a consumer acknowledges it. A consumer that takes one has a lease of it;
when the lease ends first, the next consumer gets it, and after the last attempt it becomes a dead letter with the
reason. A queue that is full refuses messages instead of forgetting older ones.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

_RECIPIENT: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
OUT_OF_ATTEMPTS: Final = "nobody acknowledged it in time"


@dataclass(frozen=True, slots=True)
class Message:
    """What one agent says to another (R62). `payload`: a JSON object as it was sent, in UTF-8.

    `id` is the sender's: the same one again, within the time that a bus remembers, is the same message.
    """

    id: str
    type: str
    sender: str
    recipient: str
    payload: bytes
    request_id: str = ""
    # W3C Trace Context, so that a trace goes on at the other end.
    traceparent: str = ""

    @property
    def digest(self) -> str:
        """Of what the message says; the request that brought it is no part of it."""
        parts = (self.type.encode(), self.recipient.encode(), self.payload)
        return hashlib.blake2b(b"".join(b"%d:%s" % (len(part), part) for part in parts), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class BusLimits:
    """Times in seconds. `capacity`: messages of one recipient that are not acknowledged yet, taken or not.

    `dead_letters`: of one recipient; beyond them the oldest goes, which is counted.
    """

    capacity: int = 10_000
    octets: int = 1_048_576
    lease: float = 30.0
    attempts: int = 5
    dead_letters: int = 1_000
    remembered: float = 600.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """`position`: where on the recipient's queue. `repeated`: it had been there before, and was not added again."""

    position: str
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that `consumer` has a lease of. `attempt`: the how manieth time, from 1."""

    message: Message
    position: str
    consumer: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    message: Message
    position: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Depth:
    """Of one recipient. `waiting`: taken by nobody. `dropped`: dead letters that had to go, since the bus began."""

    waiting: int
    taken: int
    dead: int
    dropped: int


class BusError(Exception):
    """Why a message was not taken."""


class QueueFullError(BusError):
    """The recipient has as many messages as there may be: try again later."""


class IdConflictError(BusError):
    """The sender has said something else under this id."""


class BusAwayError(BusError):
    """The bus does not answer. A message that was being published may be on its queue: publish it again, by its id."""


class Bus(Protocol):
    """Every method raises BusAwayError within a bounded time where the store of the messages is lost."""

    async def publish(self, message: Message) -> Receipt:
        """Put it on its recipient's queue.

        Raises QueueFullError, IdConflictError; ValueError for one without names, or too long.
        """

    async def receive(self, recipient: str, consumer: str, count: int = 1, wait: float = 0.0) -> Sequence[Delivery]:
        """Up to `count` messages, the oldest first; waits up to `wait` seconds for the first of them.

        `consumer`: a name that no other consumer of this recipient has.
        """

    async def acknowledge(self, delivery: Delivery) -> bool:
        """It is done with and goes; False where it had gone before."""

    async def renew(self, delivery: Delivery) -> bool:
        """Begin the lease anew; False where the message is another's now, or gone."""

    async def release(self, delivery: Delivery) -> bool:
        """Let the next consumer have it at once; False where it is another's already, or gone."""

    async def reject(self, delivery: Delivery, reason: str) -> bool:
        """Nobody shall try it again: it becomes a dead letter. False where it is another's already, or gone."""

    async def depth(self, recipient: str) -> Depth: ...

    async def consumers(self, recipient: str, within: float) -> int:
        """How many consumers have asked for its messages within so many seconds."""

    async def dead_letters(self, recipient: str, count: int = 100) -> Sequence[DeadLetter]:
        """The oldest first."""

    async def revive(self, recipient: str, position: str) -> bool:
        """Put a dead letter at the end of its queue, as if it had never been tried; False where there is none.

        Raises QueueFullError.
        """

    async def discard(self, recipient: str, position: str) -> bool:
        """Forget a dead letter; False where there is none."""

    async def ready(self) -> bool:
        """Whether a message published now would be taken."""

    async def close(self) -> None:
        """Give back connections. The bus is not used afterwards."""


def check_recipient(name: str) -> str:
    """The name. Raises ValueError for what can be none."""
    if not _RECIPIENT.fullmatch(name):
        raise ValueError(f"{name!r} is no recipient: 1 to 128 of A-Z a-z 0-9 _ . -")
    return name


def check_message(message: Message, limits: BusLimits) -> None:
    """Raises ValueError for one without names, or longer than it may be."""
    check_recipient(message.recipient)
    if not message.id or not message.sender:
        raise ValueError("a message has an id and a sender")
    if len(message.payload) > limits.octets:
        raise ValueError(f"a payload of {len(message.payload)} octets; at most {limits.octets}")
