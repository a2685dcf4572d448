"""Counters in Redis or Valkey: exact for any number of processes, as one script decides by the server's clock."""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from typing import Final

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    MovedError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as SocketTimeout

from ratelimit.near_cache import NearCache
from ratelimit.script_call import call_of, outcomes_of
from ratelimit.store import Charge, Loss, Outcome, Reading, Unavailable
from records.eviction import KEEPS, evicting_policy, memory_facts
from records.password_file import Changes, PasswordFile
from records.redis_link import Place, ask, place_of
from records.store_address import Kind, Node, check_tls, parse_store_url

_LOG: Final = structlog.get_logger(__name__)
_Requests = Sequence[Sequence[Charge]]
_Results = list[Outcome | Unavailable]

# Keys of one script call. Lua's stack holds 8,000, and a longer script would keep the server's other clients waiting.
_MOST_KEYS = 1000
# Of a cluster, how often one call is sent on, and what it waits for a slot that is just being moved.
_MOST_REDIRECTIONS = 16
_WHILE_MOVING = 0.02


@dataclass(frozen=True, slots=True)
class _Call:
    """Requests of one caller, with so many `keys`, to be decided by the moment `deadline` of time.monotonic."""

    requests: _Requests
    keys: int
    decided: asyncio.Future[_Results]
    deadline: float


class RedisStore:
    """Group commit: one script call is under way at a time, and what arrives meanwhile is the next one.

    Every call is decided or lost within `timeout` seconds. After two losses in a row nothing is sent for `pause`
    seconds, so that a server that is gone costs nobody its time-out again and again. A script call is never repeated
    unless the server said that it did not run.
    """

    def __init__(
        self,
        place: Place,
        timeout: float = 0.15,
        *,
        password: PasswordFile | None = None,
        near: NearCache | None = None,
        pause: float = 0.2,
        script: str | None = None,
    ) -> None:
        """`near`: where requests are refused without asking, if the store has just refused the like of them."""
        self._place, self._timeout, self._pause = place, timeout, pause
        self._near = near
        self._script = script or resources.files("ratelimit").joinpath("lua/charge.lua").read_text("utf-8")
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._connection: AbstractConnection | None = None
        self._changed = Changes(password)
        self._waiting: deque[_Call] = deque()
        self._group: list[_Call] = []
        self._flight: asyncio.Task[None] | None = None
        self._loss: Loss | None = None
        self._shunned_until = 0.0
        # The server's clock minus our steady one, in microseconds, at least and at most; before it has answered, a
        # guess of what it is at least.
        self._ahead = (time.time_ns() - time.monotonic_ns()) // 1000
        self._ahead_at_most: int | None = None
        self._evicts = ""

    @classmethod
    def from_url(cls, url: str, timeout: float = 0.15) -> "RedisStore":
        """One server, or the master that Sentinels name (records.store_address).

        Raises ValueError for a URL or a certificate that cannot be used.
        """
        address = parse_store_url(url)
        if address.kind is Kind.CLUSTER:
            raise ValueError("a cluster's counters are not on one server")
        if address.tls is not None:
            check_tls(address.tls)
        return cls(place_of(address, timeout), timeout, password=address.login.file, near=NearCache())

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        return (await self.charge_many((charges,)))[0]

    async def charge_many(self, requests: _Requests) -> _Results:
        refused = self._refused_nearby(requests)
        asked = [charges for charges, known in zip(requests, refused, strict=True) if known is None]
        if not asked:
            return [known for known in refused if known is not None]
        rest = iter(await self._decided(asked))
        return [next(rest) if known is None else known for known in refused]

    def charge_now(self, requests: _Requests) -> _Results | None:
        """Only what is refused without asking, and what is lost without trying."""
        if time.monotonic() < self._shunned_until and self._loss is not None:
            return [Unavailable(self._loss)] * len(requests)
        refused = self._refused_nearby(requests)
        known = [outcome for outcome in refused if outcome is not None]
        return [*known] if len(known) == len(refused) else None

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

    @property
    def near_refusals(self) -> int:
        """Requests that were refused without asking the server."""
        return 0 if self._near is None else self._near.refusals

    @property
    def lost(self) -> bool:
        """Whether the server did not decide the last time."""
        return self._loss is not None

    def _refused_nearby(self, requests: _Requests) -> list[Outcome | None]:
        if self._near is None or self._ahead_at_most is None:
            return [None] * len(requests)
        moment = time.monotonic_ns() // 1000
        now = moment + self._ahead_at_most
        known = [self._near.refusal(charges, now, moment) for charges in requests]
        if len(known) > 1 and any(known) and any(charge.hits < 0 for charges in requests for charge in charges):
            # One after the other: what is given back may be what the next one needs.
            return [None] * len(requests)
        return known

    async def _decided(self, requests: _Requests) -> _Results:
        now = time.monotonic()
        if now < self._shunned_until and self._loss is not None:
            return [Unavailable(self._loss)] * len(requests)
        calls = [self._call(part, keys, now + self._timeout) for part, keys in _parts(requests)]
        if self._flight is None:
            self._flight = asyncio.create_task(self._fly(), name="ratelimit-group-commit")
            self._flight.add_done_callback(self._landed)
        if len(calls) == 1:
            return await calls[0].decided
        return [result for results in await asyncio.gather(*(call.decided for call in calls)) for result in results]

    def _call(self, requests: _Requests, keys: int, deadline: float) -> _Call:
        call = _Call(requests, keys, asyncio.get_running_loop().create_future(), deadline)
        self._waiting.append(call)
        return call

    async def _fly(self) -> None:
        while self._waiting:
            self._take()
            result = await self._decide() if self._group else []
            if isinstance(result, Loss):
                self._lose(result)
                continue
            if self._loss is not None and self._group:
                _LOG.info("store_back", place=str(self._place))
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
        """Make a group of all calls that wait, up to the bound, without those whose caller or whose time has gone."""
        self._group, keys, now = [], 0, time.monotonic()
        while self._waiting:
            call = self._waiting[0]
            if self._group and keys + call.keys > _MOST_KEYS:
                break
            self._waiting.popleft()
            if call.deadline <= now:
                # To send it now would charge whom nobody can tell in time, and hang up in mid-flight for the others.
                _deliver(call, [Unavailable(Loss.TIMEOUT)] * len(call.requests))
            elif not call.decided.done():
                keys += call.keys
                self._group.append(call)

    def _lose(self, loss: Loss) -> None:
        lost = self._group
        if self._loss is not None:
            self._shunned_until = time.monotonic() + self._pause
            lost = [*lost, *self._waiting]
            self._waiting.clear()
        self._loss = loss
        if self._near is not None:
            self._near.forget()
        for call in lost:
            _deliver(call, [Unavailable(loss)] * len(call.requests))

    async def _decide(self) -> list[Outcome] | Loss:
        requests = [charges for call in self._group for charges in call.requests]
        try:
            async with asyncio.timeout(self._group[0].deadline - time.monotonic()):
                # Twice, as a day may end between our reading of the server's clock and its own.
                for _ in range(2):
                    sent = time.monotonic_ns() // 1000
                    keys, batch = call_of(requests, sent + self._ahead)
                    reply = await self._evaluate(keys, batch)
                    self._ahead = reply[0] - time.monotonic_ns() // 1000
                    self._ahead_at_most = reply[0] - sent
                    if len(reply) > 1:
                        return self._learnt(requests, outcomes_of(requests, reply), reply[0], sent)
                return Loss.REFUSED
        except (RedisError, OSError, TimeoutError) as error:
            await self._hang_up()
            loss = _loss(error)
            if loss is Loss.TIMEOUT:
                self._place.silent()
            if self._loss is None:
                _LOG.warning(
                    "store_lost", place=str(self._place), loss=loss.value, error=str(error) or type(error).__name__
                )
            return loss

    def _learnt(self, requests: _Requests, outcomes: list[Outcome], now: int, moment: int) -> list[Outcome]:
        if self._near is not None:
            for charges, outcome in zip(requests, outcomes, strict=True):
                self._near.learn(charges, outcome, now, moment)
        return outcomes

    async def _evaluate(self, keys: Sequence[bytes], *arguments: bytes) -> list[int]:
        command: list[str | int | bytes] = ["EVALSHA", self._sha, len(keys), *keys, *arguments]
        for _ in range(_MOST_REDIRECTIONS):
            try:
                return await self._run(await self._linked(), command)
            except MovedError as error:
                await self._hang_up()
                self._place.moved(Node(error.host, error.port)) if error.host else self._place.silent()
            except AskError as error:
                # Some of the counters may be there already and others nowhere yet, which it does not take for its own.
                with suppress(TryAgainError):
                    return await self._run_there(Node(error.host, error.port), command)
                await asyncio.sleep(_WHILE_MOVING)
            except TryAgainError:
                await asyncio.sleep(_WHILE_MOVING)
        raise Disconnected("the cluster sends from node to node")

    async def _run(
        self, connection: AbstractConnection, command: Sequence[str | int | bytes], *, asking: bool = False
    ) -> list[int]:
        for _ in range(2):
            if asking:
                await ask(connection, "ASKING")
            # Half the cost of the client's own way round it.
            await connection.send_packed_command(connection.pack_command(*command), check_health=False)
            try:
                reply: list[int] = await connection.read_response()
            except NoScriptError:
                await ask(connection, "SCRIPT", "LOAD", self._script)
            else:
                return reply
        raise Disconnected("the server keeps forgetting the script")

    async def _run_there(self, node: Node, command: Sequence[str | int | bytes]) -> list[int]:
        """Once, at the node that a slot is being moved to."""
        connection = await self._place.connect_to(node)
        try:
            return await self._run(connection, command, asking=True)
        finally:
            await connection.disconnect(nowait=True)

    async def _linked(self) -> AbstractConnection:
        """The connection that is ours alone."""
        # Closed from the other side, as by a restart, or with an answer that nobody asked for. Only before sending may
        # it be replaced: then nothing can have been charged.
        # A connection that was made with another password is replaced likewise.
        if self._connection is not None and (self._changed() or await self._connection.can_read()):
            await self._hang_up()
        if self._connection is None:
            self._connection = await self._place.connect()
            # A server that hangs still takes connections, and would charge what it was sent when it wakes: only one
            # that answers is told to charge.
            await self._look_at_clock(self._connection)
            await self._look_at_memory(self._connection)
        return self._connection

    async def _look_at_clock(self, connection: AbstractConnection) -> None:
        sent = time.monotonic_ns() // 1000
        answer = await ask(connection, "TIME")
        if not isinstance(answer, list) or len(answer) != 2:
            raise Disconnected("the server does not tell its time")
        now = int(answer[0]) * 1_000_000 + int(answer[1])
        self._ahead, self._ahead_at_most = now - time.monotonic_ns() // 1000, now - sent

    async def _look_at_memory(self, connection: AbstractConnection) -> None:
        """An evicted counter is a budget given back, and nothing else would tell."""
        try:
            found = await ask(connection, "INFO", "memory")
        except ResponseError:
            # The user may not ask; it counts all the same.
            return
        evicts = evicting_policy(memory_facts(found)) if isinstance(found, bytes | str) else ""
        if evicts and evicts != self._evicts:
            _LOG.warning("counters_can_be_evicted", place=str(self._place), maxmemory_policy=evicts, expected=KEEPS)
        self._evicts = evicts

    async def _hang_up(self) -> None:
        """Whatever is still under way there must not be taken for the answer to what comes next."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


def _parts(requests: _Requests) -> list[tuple[_Requests, int]]:
    """The requests in their order, in as few parts as one script call has room for, and how many keys each has."""
    keys = [len(charges) for charges in requests]
    if (total := sum(keys)) <= _MOST_KEYS:
        return [(requests, total)]
    parts: list[tuple[_Requests, int]] = []
    begun, held = 0, 0
    for index, some in enumerate(keys):
        if index > begun and held + some > _MOST_KEYS:
            parts.append((requests[begun:index], held))
            begun, held = index, 0
        held += some
    return [*parts, (requests[begun:], held)]


def _deliver(call: _Call, results: _Results) -> None:
    if not call.decided.done():
        call.decided.set_result(results)


def _loss(error: Exception) -> Loss:
    match error:
        case SocketTimeout() | TimeoutError():
            return Loss.TIMEOUT
        case OutOfMemoryError():
            return Loss.FULL
        case AuthenticationError() | AuthorizationError():
            return Loss.REFUSED
        case Disconnected() | OSError():
            return Loss.UNREACHABLE
        case _:
            # A replica that is read-only, no permission, a cluster that is down: it runs, and will not count.
            return Loss.REFUSED
