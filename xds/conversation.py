"""The life of one stream: requests before pushes, and one push at a time.

Knows neither gRPC nor protobuf; whoever runs it passes in where requests come from and where responses go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, Literal

import structlog

from xds.metrics import XdsMetrics
from xds.nodes import Connection
from xds.protocol.dialect import RequestT
from xds.protocol.messages import Nacked, Node, Refused, Response
from xds.protocol.stream import Stream
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES

# Requests read ahead of those that are answered; beyond them the client has to wait.
_READ_AHEAD: Final = 64

_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why the control plane ends the stream, as a gRPC status and a text for whoever runs the client."""

    status: Literal["OK", "INVALID_ARGUMENT", "PERMISSION_DENIED"]
    reason: str = ""


_UNREADABLE: Final = Ended("INVALID_ARGUMENT", "the stream holds something that is no discovery request")


class Conversation(Generic[RequestT]):
    """`admit` says why a node may not have the stream, "" if it may; `limit` how large a response it can receive."""

    def __init__(
        self,
        stream: Stream[RequestT],
        publisher: Publisher,
        metrics: XdsMetrics,
        *,
        peer: str,
        admit: Callable[[Node], str],
        limit: Callable[[Node], int | None],
        clock: Callable[[], float],
    ) -> None:
        self._stream = stream
        self._publisher = publisher
        self._metrics = metrics
        self._peer = peer
        self._admit = admit
        self._limit = limit
        self._clock = clock
        self._connection: Connection | None = None
        self._inbox: asyncio.Queue[RequestT] = asyncio.Queue(_READ_AHEAD)
        self._wake = asyncio.Event()
        self._closing = False

    def close(self) -> None:
        """Let what is being written finish, then end the stream."""
        self._closing = True
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
            _LOG.warning("xds_stream_ended", status=ended.status, reason=ended.reason, peer=self._peer)
        return ended

    async def _talk(self, reader: asyncio.Task[None], write: Callable[[Response], Awaitable[None]]) -> Ended:
        while not self._closing:
            self._wake.clear()
            # A client that has said its last word is still told what it asked for before.
            last = reader.done()
            if ended := await self._answer_all(write):
                return ended
            await self._push(write)
            if last:
                return Ended("OK") if reader.exception() is None else _UNREADABLE
            if self._inbox.empty():
                await self._sleep()
        return Ended("OK")

    async def _read(self, requests: AsyncIterator[RequestT]) -> None:
        try:
            async for request in requests:
                await self._inbox.put(request)
                self._wake.set()
        finally:
            self._wake.set()

    async def _sleep(self) -> None:
        deadline = self._stream.deadline
        wait = None if deadline is None else max(0.0, deadline - self._clock())
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._wake.wait()

    async def _answer_all(self, write: Callable[[Response], Awaitable[None]]) -> Ended | None:
        while not self._inbox.empty() and not self._closing:
            responses = self._stream.receive(self._inbox.get_nowait(), self._clock())
            if isinstance(responses, Refused):
                return Ended("INVALID_ARGUMENT", responses.reason)
            if self._connection is None and self._stream.node is not None:
                if reason := self._admit(self._stream.node):
                    return Ended("PERMISSION_DENIED", reason)
                self._join(self._stream.node)
            await self._send(responses, write)
        return None

    async def _push(self, write: Callable[[Response], Awaitable[None]]) -> None:
        if self._connection is None:
            return
        snapshot = self._publisher.snapshot(self._connection.node.cluster)
        if snapshot is not None and snapshot is not self._stream.target:
            await self._send(self._stream.publish(snapshot, self._clock()), write)
        else:
            await self._send(self._stream.tick(self._clock()), write)

    async def _send(self, responses: list[Response], write: Callable[[Response], Awaitable[None]]) -> None:
        assert self._stream.node is not None
        for event in self._stream.take_events():
            self._metrics.happened(event)
            if isinstance(event, Nacked):
                _log_refusal(self._stream.node, event)
        self._publisher.changed()
        for response in responses:
            await write(response)
            self._metrics.pushed(response)

    def _join(self, node: Node) -> None:
        self._stream.limit = self._limit(node)
        self._connection = self._publisher.join(node, self._peer, self._stream, self._wake.set)
        self._metrics.opened(node.cluster, self._stream.dialect, self._publisher.nodes.count(node.cluster))

    def _leave(self) -> None:
        if self._connection is not None:
            group = self._connection.node.cluster
            self._publisher.leave(self._connection)
            self._metrics.closed(group, self._stream.dialect, self._publisher.nodes.count(group))
            self._connection = None


def _log_refusal(node: Node, refusal: Nacked) -> None:
    response = refusal.response
    _LOG.warning(
        "config_refused",
        node=node.id,
        group=node.cluster,
        type=SHORT_NAMES[response.type_url],
        resources=[resource.name for resource in response.resources],
        origins=[str(resource.origin) for resource in response.resources if resource.origin],
        message=refusal.message,
    )
