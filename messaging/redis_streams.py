"""A bus on Redis Streams: durable as the server is, and shared by any number of processes.

A recipient's queue is a stream with one consumer group; a message is deleted when it is acknowledged, so that the
length of the stream is what is not done yet. All keys of a recipient share a hash tag, and each step is one script.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, Final, Self, TypeAlias, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import OutOfMemoryError, RedisClusterException, RedisError, ResponseError

from messaging.bus import (
    OUT_OF_ATTEMPTS,
    BusAwayError,
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

_GROUP: Final = "agents"
_POSITION: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
# How often a consumer that waits for what is new looks for what another has left: a part of the lease, within these.
_SHORTEST_BLOCK: Final = 1.0
_LONGEST_BLOCK: Final = 3.0
_REPEATED: Final = 1
_CONFLICT: Final = 2
_FULL: Final = 3

_Answer = TypeVar("_Answer")
Client: TypeAlias = Redis | RedisCluster


class RedisBus:
    """`messaging.bus.Bus`. Positions are ids of stream entries."""

    def __init__(self, client: Client, limits: BusLimits | None = None, timeout: float = 1.0) -> None:
        """`timeout` in seconds, for each call beside the time that it waits for messages."""
        self._client = client
        self._limits = limits or BusLimits()
        self._timeout = timeout
        self._block = min(max(self._limits.lease / 4, _SHORTEST_BLOCK), _LONGEST_BLOCK)
        self._publish, self._reclaim, self._settle, self._revive = (
            client.register_script("".join(map(_lua, names)))
            for names in (("publish",), ("bury", "reclaim"), ("bury", "settle"), ("revive",))
        )

    @classmethod
    def from_url(
        cls,
        url: str,
        limits: BusLimits | None = None,
        timeout: float = 1.0,
        credentials: CredentialProvider | None = None,
    ) -> Self:
        """`redis://`, `rediss://` or `unix://` with user, password and database, as redis-py reads them."""
        # What was lost may have been done: whoever asked decides whether to ask again.
        retry = Retry(NoBackoff(), 0)
        client = Redis.from_url(
            url, protocol=2, retry=retry, socket_connect_timeout=timeout, credential_provider=credentials
        )
        return cls(client, limits, timeout)

    async def publish(self, message: Message) -> Receipt:
        check_message(message, self._limits)
        queue, _, _ = _keys(message.recipient)
        # The sender comes first and has a length: no two pairs of names share a key.
        known = f"{queue}:known:{len(message.sender)}:{message.sender}:{message.id}"
        remembered = round(self._limits.remembered * 1000)
        arguments = [_GROUP, self._limits.capacity, remembered, message.digest, *_fields(message)]
        what, position = await self._asked(self._publish([queue, known], arguments))
        if what == _CONFLICT:
            raise IdConflictError(f"{message.sender} has said something else as {message.id!r}")
        if what == _FULL:
            raise self._full(message.recipient)
        return Receipt(position.decode(), repeated=what == _REPEATED)

    async def receive(self, recipient: str, consumer: str, count: int = 1, wait: float = 0.0) -> Sequence[Delivery]:
        deadline = time.monotonic() + wait
        while True:
            found = await self._lapsed(recipient, consumer, count)
            left = max(deadline - time.monotonic(), 0.0)
            if len(found) < count:
                # Who has something already waits for nothing.
                block = 0.0 if found else min(left, self._block)
                found += await self._fresh(recipient, consumer, count - len(found), block)
            if found or left <= 0:
                return found

    async def _lapsed(self, recipient: str, consumer: str, count: int) -> list[Delivery]:
        queue, dead, dropped = _keys(recipient)
        limits, found = self._limits, list[Delivery]()
        while len(found) < count:
            arguments: list[str | int] = [
                _GROUP, consumer, count - len(found), round(limits.lease * 1000), limits.attempts,
                limits.dead_letters, OUT_OF_ATTEMPTS,
            ]  # fmt: skip
            try:
                seen, taken = await self._asked(self._reclaim([queue, dead, dropped], arguments))
            except ResponseError as error:
                await self._found_group(recipient, error)
                continue
            found += [
                Delivery(_message(_pairs(fields)), position.decode(), consumer, attempt)
                for position, attempt, fields in taken
            ]
            if seen == 0:
                break
        return found

    async def _fresh(self, recipient: str, consumer: str, count: int, block: float) -> list[Delivery]:
        queue, _, _ = _keys(recipient)
        milliseconds = round(block * 1000) or None
        while True:
            try:
                reading = self._client.xreadgroup(_GROUP, consumer, {queue: ">"}, count, milliseconds)
                answer = await self._asked(reading, block)
            except ResponseError as error:
                await self._found_group(recipient, error)
                continue
            entries = answer[0][1] if answer else []
            return [Delivery(_message(fields), position.decode(), consumer, 1) for position, fields in entries]

    async def _found_group(self, recipient: str, error: ResponseError) -> None:
        """A queue that nobody has read before, or that was lost with its server, has no group yet."""
        if "NOGROUP" not in str(error):
            raise BusAwayError(str(error)) from error
        try:
            await self._asked(self._client.xgroup_create(_keys(recipient)[0], _GROUP, "0", mkstream=True))
        except ResponseError as known:
            if "BUSYGROUP" not in str(known):
                raise BusAwayError(str(known)) from known

    async def acknowledge(self, delivery: Delivery) -> bool:
        queue, _, _ = _keys(delivery.message.recipient)
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.xack(queue, _GROUP, delivery.position)
            pipe.xdel(queue, delivery.position)
            taken, _ = await self._asked(pipe.execute())
        return bool(taken)

    async def renew(self, delivery: Delivery) -> bool:
        return await self._settled(delivery, "renew")

    async def release(self, delivery: Delivery) -> bool:
        return await self._settled(delivery, "release", round(self._limits.lease * 1000))

    async def reject(self, delivery: Delivery, reason: str) -> bool:
        return await self._settled(delivery, "bury", self._limits.dead_letters, reason)

    async def _settled(self, delivery: Delivery, what: str, *more: str | int) -> bool:
        keys = _keys(delivery.message.recipient)
        arguments: list[str | int] = [_GROUP, delivery.consumer, delivery.position, what, *more]
        try:
            return bool(await self._asked(self._settle(list(keys), arguments)))
        except ResponseError as error:
            await self._found_group(delivery.message.recipient, error)
            return False

    async def depth(self, recipient: str) -> Depth:
        queue, dead, dropped = _keys(recipient)
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.xlen(queue)
            pipe.xpending(queue, _GROUP)
            pipe.xlen(dead)
            pipe.get(dropped)
            length, pending, letters, gone = await self._asked(pipe.execute(raise_on_error=False))
        taken = pending["pending"] if isinstance(pending, Mapping) else 0
        return Depth(length - taken, taken, letters, int(gone or 0))

    async def consumers(self, recipient: str, within: float) -> int:
        try:
            found = await self._asked(self._client.xinfo_consumers(_keys(recipient)[0], _GROUP))
        except ResponseError as error:
            # Nobody has sent it anything, and nobody has asked.
            if "NOGROUP" in str(error) or "no such key" in str(error):
                return 0
            raise BusAwayError(str(error)) from error
        return sum(one["idle"] <= within * 1000 for one in found)

    async def dead_letters(self, recipient: str, count: int = 100) -> Sequence[DeadLetter]:
        entries = await self._asked(self._client.xrange(_keys(recipient)[1], count=count))
        return [
            DeadLetter(_message(fields), position.decode(), _text(fields, b"reason"), int(fields[b"attempts"]))
            for position, fields in entries
        ]

    async def revive(self, recipient: str, position: str) -> bool:
        queue, dead, _ = _keys(recipient)
        if not _POSITION.fullmatch(position):
            return False
        what = await self._asked(self._revive([queue, dead], [self._limits.capacity, position]))
        if what == _FULL:
            raise self._full(recipient)
        return bool(what)

    async def discard(self, recipient: str, position: str) -> bool:
        if not _POSITION.fullmatch(position):
            return False
        return bool(await self._asked(self._client.xdel(_keys(recipient)[1], position)))

    async def ready(self) -> bool:
        try:
            return bool(await self._asked(self._client.ping()))
        except BusAwayError:
            return False

    async def close(self) -> None:
        await self._client.aclose()

    async def _asked(self, answer: Awaitable[_Answer], wait: float = 0.0) -> Any:
        try:
            async with asyncio.timeout(self._timeout + wait):
                return await answer
        except OutOfMemoryError as error:
            raise QueueFullError("the bus has no memory left") from error
        except ResponseError:
            raise
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            raise BusAwayError(f"the bus does not answer: {type(error).__name__}") from error

    def _full(self, recipient: str) -> QueueFullError:
        return QueueFullError(f"{recipient} has {self._limits.capacity} messages that are not acknowledged")


def _lua(name: str) -> str:
    return resources.files("messaging").joinpath(f"lua/{name}.lua").read_text("utf-8")


def _keys(recipient: str) -> tuple[str, str, str]:
    """The queue, the dead letters, and how many of these had to go. Raises ValueError for what is no name."""
    queue = f"apibank:bus:{{{check_recipient(recipient)}}}"
    return queue, f"{queue}:dead", f"{queue}:dropped"


def _fields(message: Message) -> Iterator[bytes | str]:
    yield from ("id", message.id, "type", message.type, "sender", message.sender, "recipient", message.recipient)
    yield from ("payload", message.payload, "request_id", message.request_id, "traceparent", message.traceparent)


def _pairs(fields: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _message(fields: Mapping[bytes, bytes]) -> Message:
    return Message(
        id=_text(fields, b"id"),
        type=_text(fields, b"type"),
        sender=_text(fields, b"sender"),
        recipient=_text(fields, b"recipient"),
        payload=fields[b"payload"],
        request_id=_text(fields, b"request_id"),
        traceparent=_text(fields, b"traceparent"),
    )


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode()
