"""Counters in Redis or Valkey: exact for any number of processes, as one script decides by the server's clock."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice

import orjson
import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as SocketTimeout

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow
from ratelimit.store import Charge, Loss, Outcome, Reading, Unavailable
from records.password_file import Changes, split_reference

_Requests = Sequence[Sequence[Charge]]
_Results = list[Outcome | Unavailable]

# Keys of one script call. Lua's stack holds 8,000, and a longer script would keep the server's other clients waiting.
_MOST_KEYS = 1000


@dataclass(frozen=True, slots=True)
class _Call:
    """Requests of one caller, to be decided by the moment `deadline` of time.monotonic."""

    requests: _Requests
    decided: asyncio.Future[_Results]
    deadline: float


class RedisStore:
    """Group commit: one script call is under way at a time, and what arrives meanwhile is the next one.

    Every call is decided or lost within `timeout` seconds. After two losses in a row nothing is sent for `pause`
    seconds, so that a server that is gone costs nobody its time-out again and again. A script call is never repeated
    unless the server said that it did not run.
    """

    def __init__(
        self, client: redis.Redis, timeout: float = 0.15, pause: float = 0.2, script: str | None = None
    ) -> None:
        self._client, self._timeout, self._pause = client, timeout, pause
        self._script = script or resources.files("ratelimit").joinpath("lua/charge.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._connection: AbstractConnection | None = None
        self._changed = Changes(None)
        self._waiting: deque[_Call] = deque()
        self._group: list[_Call] = []
        self._flight: asyncio.Task[None] | None = None
        self._loss: Loss | None = None
        self._shunned_until = 0.0
        # The server's clock minus our steady one, in microseconds; a guess until the server has answered.
        self._ahead = (time.time_ns() - time.monotonic_ns()) // 1000

    @classmethod
    def from_url(cls, url: str, timeout: float = 0.15) -> "RedisStore":
        """`redis://`, `rediss://` or `unix://` with user, password and database, as redis-py reads them.

        `?password_file=PATH` instead of a password: the file's, also after it has changed.
        """
        # A charge that was lost may have been made, so redis-py must not try again; and the one time-out is ours.
        address, password = split_reference(url)
        client = redis.Redis.from_url(
            address,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=timeout,
            credential_provider=password,
        )
        store = cls(client, timeout)
        store._changed = Changes(password)
        return store

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        return (await self.charge_many((charges,)))[0]

    async def charge_many(self, requests: _Requests) -> _Results:
        if not requests:
            return []
        now = time.monotonic()
        if now < self._shunned_until and self._loss is not None:
            return [Unavailable(self._loss)] * len(requests)
        decided: asyncio.Future[_Results] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(requests, decided, now + self._timeout))
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="ratelimit-group-commit")
            self._flight.add_done_callback(self._landed)
        return await decided

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading] | Unavailable:
        outcome = await self.charge([Charge(charge.key, charge.limit, 0, enforced=False) for charge in charges])
        return outcome.readings if isinstance(outcome, Outcome) else outcome

    async def ready(self) -> bool:
        return isinstance(await self.charge(()), Outcome)

    async def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        await self._hang_up()
        await self._client.aclose()

    async def _fly(self) -> None:
        while self._waiting:
            self._take()
            result = await self._decide() if self._group else []
            if isinstance(result, Loss):
                self._lose(result)
            else:
                self._loss = None
                rest = iter(result)
                for call in self._group:
                    _deliver(call, list(islice(rest, len(call.requests))))
        self._flight = None

    def _landed(self, flight: asyncio.Task[None]) -> None:
        error = None if flight.cancelled() else flight.exception()
        if flight.cancelled() or error is not None:
            # Closed, or failed as nothing should: nobody is left waiting.
            self._flight = None
            for call in (*self._group, *self._waiting):
                _deliver(call, [Unavailable(Loss.UNREACHABLE)] * len(call.requests))
            self._waiting.clear()
        if error is not None:
            raise error

    def _take(self) -> None:
        """Make a group of all calls that wait, up to the bound, without those whose caller has left."""
        self._group, keys = [], 0
        while self._waiting:
            keys += sum(len(charges) for charges in self._waiting[0].requests)
            if self._group and keys > _MOST_KEYS:
                break
            call = self._waiting.popleft()
            if not call.decided.done():
                self._group.append(call)

    def _lose(self, loss: Loss) -> None:
        lost = self._group
        if self._loss is not None:
            self._shunned_until = time.monotonic() + self._pause
            lost = [*lost, *self._waiting]
            self._waiting.clear()
        self._loss = loss
        for call in lost:
            _deliver(call, [Unavailable(loss)] * len(call.requests))

    async def _decide(self) -> list[Outcome] | Loss:
        requests = [charges for call in self._group for charges in call.requests]
        try:
            async with asyncio.timeout(self._group[0].deadline - time.monotonic()):
                # Twice, as a day may end between our reading of the server's clock and its own.
                for _ in range(2):
                    keys, batch = _batch(requests, time.monotonic_ns() // 1000 + self._ahead)
                    reply = await self._evaluate(keys, orjson.dumps(batch))
                    self._ahead = reply[0] - time.monotonic_ns() // 1000
                    if len(reply) > 1:
                        return _outcomes(requests, reply)
                return Loss.REFUSED
        except (TimeoutError, SocketTimeout):
            await self._hang_up()
            return Loss.TIMEOUT
        except (Disconnected, OSError):
            await self._hang_up()
            return Loss.UNREACHABLE
        except RedisError:
            # Out of memory, a replica that is read-only, no permission: it runs, and will not count.
            await self._hang_up()
            return Loss.REFUSED

    async def _evaluate(self, keys: Sequence[bytes], *arguments: bytes) -> list[int]:
        command: list[str | int | bytes] = ["EVALSHA", self._sha, len(keys), *keys, *arguments]
        try:
            return await self._send(command)
        except NoScriptError:
            await self._send(["SCRIPT", "LOAD", self._script])
            return await self._send(command)

    async def _send(self, command: Sequence[str | int | bytes]) -> list[int]:
        """One command on the connection that is ours alone: half the cost of the client's own way round it."""
        # Closed from the other side, as by a restart, or with an answer that nobody asked for. Only before sending may
        # it be replaced: then nothing can have been charged.
        # A connection that was made with another password is replaced likewise.
        if self._connection is not None and (self._changed() or await self._connection.can_read()):
            await self._hang_up()
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection = self._connection
        await connection.send_packed_command(connection.pack_command(*command), check_health=False)
        reply: list[int] = await connection.read_response()
        return reply

    async def _hang_up(self) -> None:
        """Whatever is still under way there must not be taken for the answer to what comes next."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._client.connection_pool.release(connection)


def _deliver(call: _Call, results: _Results) -> None:
    if not call.decided.done():
        call.decided.set_result(results)


def _batch(requests: Sequence[Sequence[Charge]], now: int) -> tuple[list[bytes], list[object]]:
    """KEYS and the decoded ARGV[1] of lua/charge.lua."""
    keys: dict[bytes, int] = {}
    numbers: dict[int, int] = {}
    limits: list[list[str | int]] = []
    encoded: list[list[int]] = []
    for charges in requests:
        request: list[int] = []
        for charge in charges:
            limit = charge.limit
            number = numbers.get(id(limit))
            if number is None:
                limits.append(_encoded(limit, now))
                number = numbers[id(limit)] = len(limits)
            key = keys.setdefault(charge.key, len(keys) + 1)
            request += (key, number, charge.hits, charge.enforced)
        encoded.append(request)
    return list(keys), [limits, encoded]


def _encoded(limit: Limit, now: int) -> list[str | int]:
    match limit:
        case Gcra():
            return ["g", limit.grain, limit.spacing, limit.capacity]
        case FixedWindow():
            return ["f", limit.amount, limit.period]
        case SlidingWindow():
            return ["s", limit.amount, limit.period, limit.resolution]
        case CalendarQuota():
            return ["q", limit.amount, *limit.bounds(now)]


def _outcomes(requests: Sequence[Sequence[Charge]], reply: Sequence[int]) -> list[Outcome]:
    at, outcomes = 1, []
    for charges in requests:
        admitted, readings = reply[at] == 1, []
        at += 1
        for _ in charges:
            readings.append((reply[at] == 1, reply[at + 1], reply[at + 2], reply[at + 3]))
            at += 4
        outcomes.append(Outcome(admitted, readings))
    return outcomes
