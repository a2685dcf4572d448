"""The life of one stream: requests before pushes, one push at a time, and an end to what takes too long.

Knows neither gRPC nor protobuf; whoever runs it passes in where requests come from and where responses go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, Literal

import structlog

from xds.admission import ServerLimits
from xds.metrics import XdsMetrics
from xds.nodes import Connection
from xds.protocol.dialect import RequestT
from xds.protocol.messages import ClustersTaken, Nacked, Node, Refused, Response
from xds.protocol.stream import Stream
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES, Snapshot
from xds.turns import Turn, Turns, Weights

# Requests read ahead of those that are answered; beyond them the client has to wait. Each may have 32 MiB.
_READ_AHEAD: Final = 8
# How long a client that takes nothing holds up those that wait for their turn, in seconds.
_LONGEST_TURN: Final = 1.0

_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why the control plane ends the stream, as a gRPC status and a text for whoever runs the client."""

    status: Literal["OK", "INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]
    reason: str = ""


_OVER: Final = Ended("OK")
_UNREADABLE: Final = Ended("INVALID_ARGUMENT", "the stream holds something that is no discovery request")
_SILENT: Final = Ended("DEADLINE_EXCEEDED", "no discovery request came")
_STALLED: Final = Ended("DEADLINE_EXCEEDED", "the client takes nothing any more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a stream is told of its client and of the others.

    `admit` says why a node may not have the stream, None if it may, and is called once; `limit` how large a response
    the node can receive. `supply` lets the node's other streams send these endpoints again. `age` is how long the
    stream may last, in seconds, None for ever.
    """

    peer: str
    admit: Callable[[Node], Ended | None]
    limit: Callable[[Node], int | None]
    clock: Callable[[], float]
    turns: Turns
    weights: Weights
    limits: ServerLimits
    supply: Callable[[Node, tuple[str, ...]], None] = lambda node, names: None
    age: float | None = None


class Conversation(Generic[RequestT]):
    """`run` it once."""

    def __init__(
        self, stream: Stream[RequestT], publisher: Publisher, metrics: XdsMetrics, around: Surroundings
    ) -> None:
        self._stream = stream
        self._publisher = publisher
        self._metrics = metrics
        self._around = around
        self._begun = around.clock()
        self._connection: Connection | None = None
        self._inbox: asyncio.Queue[RequestT] = asyncio.Queue(_READ_AHEAD)
        self._wake = asyncio.Event()
        self._closing = False
        self._stalled = False
        self._turn: Turn | None = None
        self._supplied: set[str] = set()
        # The version of the change that the client has not been sent anything of, and that it does not run yet.
        self._unsent = self._unacked = ""

    @property
    def node(self) -> Node | None:
        """Whose stream it is, once that is known and admitted."""
        return None if self._connection is None else self._connection.node

    def close(self) -> None:
        """Let what is being written finish, then end the stream."""
        self._closing = True
        self._wake.set()

    def supply(self, names: Iterable[str]) -> None:
        """The proxy took these clusters' changes on another stream, and waits for their endpoints on this one."""
        self._supplied.update(names)
        self._wake.set()

    async def run(self, requests: AsyncIterator[RequestT], write: Callable[[Response], Awaitable[None]]) -> Ended:
        """Answer until the client or `close` ends the stream, or the client breaks the protocol."""
        reader = asyncio.create_task(self._read(requests))
        try:
            ended = await self._talk(reader, write)
        finally:
            reader.cancel()
            self._leave()
        if ended.status != "OK":
            self._metrics.denied(ended.status)
            _LOG.warning("xds_stream_ended", status=ended.status, reason=ended.reason, peer=self._around.peer)
        return ended

    async def _talk(self, reader: asyncio.Task[None], write: Callable[[Response], Awaitable[None]]) -> Ended:
        while not self._closing:
            self._wake.clear()
            # A client that has said its last word is still told what it asked for before.
            last = reader.done()
            if ended := await self._answer_all(write) or self._overdue():
                return ended
            await self._push(write)
            if self._stalled:
                return _STALLED
            if last and self._turn is None:
                return _OVER if reader.exception() is None else _UNREADABLE
            if self._inbox.empty():
                await self._sleep()
        return _OVER

    async def _read(self, requests: AsyncIterator[RequestT]) -> None:
        try:
            async for request in requests:
                await self._inbox.put(request)
                self._wake.set()
        finally:
            self._wake.set()

    async def _sleep(self) -> None:
        deadlines = (self._stream.deadline, self._last_moment())
        deadline = min((each for each in deadlines if each is not None), default=None)
        wait = None if deadline is None else max(0.0, deadline - self._around.clock())
        timer = None if wait is None else asyncio.get_running_loop().call_later(wait, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _last_moment(self) -> float | None:
        if self._connection is None:
            return self._begun + self._around.limits.first_request_seconds
        return None if self._around.age is None else self._begun + self._around.age

    def _overdue(self) -> Ended | None:
        """The stream has lasted as long as it may."""
        last_moment = self._last_moment()
        if last_moment is None or self._around.clock() < last_moment:
            return None
        if self._connection is None:
            self._metrics.silent()
            return _SILENT
        self._metrics.aged()
        return _OVER

    async def _answer_all(self, write: Callable[[Response], Awaitable[None]]) -> Ended | None:
        while not self._inbox.empty() and not self._closing:
            responses = self._stream.receive(self._inbox.get_nowait(), self._around.clock())
            if isinstance(responses, Refused):
                return Ended("INVALID_ARGUMENT", responses.reason)
            if self._connection is None and self._stream.node is not None:
                if denied := self._around.admit(self._stream.node):
                    return denied
                self._join(self._stream.node)
            if excess := self._excess():
                return Ended("RESOURCE_EXHAUSTED", excess)
            await self._send(responses, write)
            if self._stalled:
                return _STALLED
            if not self._inbox.empty():
                # A client that never stops asking takes turns with all others.
                await asyncio.sleep(0)
        return None

    def _excess(self) -> str:
        """Why the stream subscribes to more than anybody needs, if it does."""
        subscriptions, limits = self._stream.subscriptions.values(), self._around.limits
        if (names := sum(len(each.names) for each in subscriptions)) > limits.max_names:
            return f"the stream subscribes to {names} names, and {limits.max_names} are the most"
        if (length := sum(each.length for each in subscriptions)) > limits.max_names_length:
            return f"the names subscribed to have {length} characters, and {limits.max_names_length} are the most"
        return ""

    async def _push(self, write: Callable[[Response], Awaitable[None]]) -> None:
        if self._connection is None:
            return
        snapshot = self._publisher.snapshot_for(self._connection.node)
        if snapshot is not None and self._stream.target is None:
            # The answer to the stream's first requests, whose number admission bounds.
            await self._send(self._stream.publish(snapshot, self._around.clock()), write)
        elif snapshot is not None and snapshot is not self._stream.target:
            await self._push_in_turn(snapshot, write)
        else:
            self._end_turn()
            now = self._around.clock()
            names, self._supplied = self._supplied, set()
            responses = (self._stream.supplied(names, now) if names else []) + self._stream.tick(now)
            if responses:
                await self._send(responses, write)

    def _due(self) -> None:
        """There is another snapshot: wake, or wait for the turn to send it."""
        if self._turn is None and self._stream.target is not None and self._connection is not None:
            # Asking here and not when awake saves each stream that must wait one awakening.
            snapshot = self._publisher.snapshot_for(self._connection.node)
            if snapshot is not None and snapshot is not self._stream.target:
                self._turn = self._ask(self._stream.target, snapshot)
        if self._turn is None or self._turn.granted:
            self._wake.set()

    def _ask(self, target: Snapshot, snapshot: Snapshot) -> Turn:
        around = self._around
        weight = around.weights.of(target, snapshot, whole_sets=self._stream.dialect == "sotw")
        return around.turns.ask(self._wake.set, weight)

    async def _push_in_turn(self, snapshot: Snapshot, write: Callable[[Response], Awaitable[None]]) -> None:
        if self._turn is None:
            self._turn = self._ask(self._stream.target or snapshot, snapshot)
        if not self._turn.granted:
            return
        timer = asyncio.get_running_loop().call_later(_LONGEST_TURN, self._around.turns.give_back, self._turn)
        try:
            self._unsent = self._unacked = snapshot.version
            await self._send(self._stream.publish(snapshot, self._around.clock()), write)
        finally:
            timer.cancel()
            self._end_turn()

    def _end_turn(self) -> None:
        if self._turn is not None:
            self._around.turns.give_back(self._turn)
            self._turn = None

    async def _send(self, responses: list[Response], write: Callable[[Response], Awaitable[None]]) -> None:
        assert self._stream.node is not None
        events = self._stream.take_events()
        for event in events:
            self._metrics.happened(event)
            match event:
                case Nacked():
                    _log_refusal(self._stream.node, event)
                case ClustersTaken(endpoints):
                    self._around.supply(self._stream.node, endpoints)
        if self._connection is not None and (events or not responses):
            # What is only about to be sent is neither accepted nor refused.
            self._publisher.changed(self._connection)
            self._time_change(self._connection.node.cluster)
        for response in responses:
            # No time-out: nothing may be sent after a write that was given up, not even a status.
            timer = asyncio.get_running_loop().call_later(self._around.limits.write_seconds, self._stall)
            try:
                await write(response)
            finally:
                timer.cancel()
            if self._stalled:
                return
            self._metrics.pushed(response)
            if self._unsent and not response.heartbeat:
                self._metrics.change_sent(self._stream.node.cluster, self._unsent, self._around.clock())
                self._unsent = ""

    def _stall(self) -> None:
        """The client has taken nothing for too long: it is no proxy any more, but its stream ends when it goes on.

        gRPC has no other end for a stream. Until then it keeps its place, so that what such clients cost has a bound.
        """
        self._stalled = True
        self._metrics.stalled()
        _LOG.warning("xds_stream_stalled", peer=self._around.peer)
        self._leave()

    def _time_change(self, group: str) -> None:
        """Count how long a change took to be live here, if anything of it had to be sent."""
        if self._unacked and self._stream.live:
            if not self._unsent:
                self._metrics.change_acked(group, self._unacked, self._around.clock())
            self._unsent = self._unacked = ""

    def _join(self, node: Node) -> None:
        self._stream.limit = self._around.limit(node)
        self._connection = self._publisher.join(node, self._around.peer, self._stream, self._due)
        self._metrics.opened(node.cluster, self._stream.dialect, self._publisher.nodes.count(node.cluster))

    def _leave(self) -> None:
        self._end_turn()
        if self._connection is not None:
            group = self._connection.node.cluster
            self._publisher.leave(self._connection)
            self._metrics.closed(group, self._stream.dialect, self._publisher.nodes.count(group))
            self._connection = None


def _log_refusal(node: Node, refusal: Nacked) -> None:
    """A refused heartbeat blames nothing in the policy: the proxy no longer has it, and is sent it again."""
    response = refusal.response
    _LOG.warning(
        "heartbeat_refused" if response.heartbeat else "config_refused",
        node=node.id,
        group=node.cluster,
        type=SHORT_NAMES[response.type_url],
        resources=[resource.name for resource in response.resources],
        origins=[str(resource.origin) for resource in response.resources if resource.origin],
        message=refusal.message,
    )
