"""The gRPC services: the aggregated discovery service and one of each type, in both dialects; health; reflection."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from xds import access, wire
from xds.admission import Admission, Denial, Pace, ServerLimits, age_of
from xds.conversation import Conversation, Ended, Surroundings
from xds.encoding import SharedEncoding
from xds.memory import Reclaim
from xds.metrics import XdsMetrics
from xds.protocol.delta import Delta
from xds.protocol.dialect import Dialect
from xds.protocol.messages import Node
from xds.protocol.sotw import Sotw
from xds.protocol.stream import Stream
from xds.publisher import Publisher
from xds.turns import Turns, Weights

# What gRPC clients other than Envoy receive unless told otherwise.
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
_STOPPING: Final = "the control plane stops; another replica answers"

_Context = grpc.aio.ServicerContext[Any, Any]
# A request and its size in bytes.
_Sized = tuple[Any, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a server says of itself in responses, and whose certificates it believes; "" is without TLS."""

    identifier: str
    trust_domain: str = ""

    def denial(self, node: Node, context: _Context) -> str:
        """Why the peer may not speak for this node, "" if it may."""
        return access.denial(node, context.auth_context(), self.trust_domain) if self.trust_domain else ""


class Discovery:
    """What all streams of a server share."""

    def __init__(
        self,
        publisher: Publisher,
        metrics: XdsMetrics,
        identity: Identity,
        limits: ServerLimits,
        stream: Callable[..., Stream[Any]],
    ) -> None:
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._publisher = publisher
        self._metrics = metrics
        self._identity = identity
        self._limits = limits
        self._stream = stream
        self._admission = Admission(limits)
        self._turns = Turns(limits.concurrent_pushes, metrics.push_pending)
        self._weights = Weights()
        self._conversations: set[Conversation[Any]] = set()
        self._reclaim = Reclaim(asyncio.get_running_loop().call_later)
        self._closing = asyncio.Event()

    async def register(self, server: grpc.aio.Server, others: tuple[str, ...]) -> None:
        """Serve discovery, and the health and the descriptions of it and of the services `others`."""
        services = ((None, wire.AGGREGATED), *wire.SERVICES.items())
        server.add_generic_rpc_handlers(tuple(self._handlers(only, *service) for only, service in services))
        names = [name for _, (name, _) in services] + list(others)
        for name in ("", *names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        wire.describe_services()
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    def close(self) -> None:
        """End the open streams cleanly, and refuse further ones."""
        self._closing.set()
        for conversation in self._conversations:
            conversation.close()

    def _handlers(self, only: str | None, service: str, methods: str) -> grpc.GenericRpcHandler[Any, Any]:
        by_name = {
            prefix + methods: grpc.stream_stream_rpc_method_handler(
                partial(self._serve, dialect, only),
                request_deserializer=lambda raw, read=read: (read(raw), len(raw)),
                response_serializer=SharedEncoding(write, self._identity.identifier),
            )
            for prefix, dialect, read, write in (
                ("Stream", Sotw(), wire.read_sotw, wire.write_sotw),
                ("Delta", Delta(), wire.read_delta, wire.write_delta),
            )
            if prefix == "Delta" or only not in wire.DELTA_ONLY
        }
        return grpc.method_handlers_generic_handler(service, by_name)

    async def _serve(
        self, dialect: Dialect[Any], only: str | None, requests: AsyncIterator[_Sized], context: _Context
    ) -> None:
        entered = self._admission.enter(time.monotonic())
        if isinstance(entered, Denial):
            self._metrics.admission_refused(entered.reason)
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, entered.text)
        admitted: list[Node] = []

        def admit(node: Node) -> Ended | None:
            if reason := self._identity.denial(node, context):
                return Ended("PERMISSION_DENIED", reason)
            if denial := self._admission.identify(node):
                self._metrics.admission_refused(denial.reason)
                return Ended("RESOURCE_EXHAUSTED", denial.text)
            admitted.append(node)
            return None

        try:
            await self._wait(entered, context)
            await self._converse(self._stream(dialect, only=only), admit, requests, context)
        finally:
            self._admission.leave(admitted[0] if admitted else None)

    async def _wait(self, seconds: float, context: _Context) -> None:
        """Until it is this stream's turn to start."""
        if seconds:
            try:
                async with asyncio.timeout(seconds):
                    await self._closing.wait()
            except TimeoutError:
                pass
        if self._closing.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, _STOPPING)
        self._metrics.admitted(seconds)
        self._reclaim.started()

    async def _converse(
        self, stream: Stream[Any], admit: Any, requests: AsyncIterator[_Sized], context: _Context
    ) -> None:
        around = Surroundings(
            peer=context.peer(),
            admit=admit,
            limit=lambda node: None if node.user_agent == "envoy" else MAX_RESPONSE_BYTES,
            clock=time.monotonic,
            turns=self._turns,
            weights=self._weights,
            supply=self._supply,
            limits=self._limits,
            age=age_of(self._limits, random.random()),  # noqa: S311  (it keeps proxies apart, and keeps no secret)
        )
        conversation: Conversation[Any] = Conversation(stream, self._publisher, self._metrics, around)
        self._conversations.add(conversation)
        try:
            ended = await conversation.run(self._paced(requests), context.write)
        finally:
            self._conversations.discard(conversation)
        if ended.status != "OK":
            await context.abort(grpc.StatusCode[ended.status], ended.reason)

    async def _paced(self, requests: AsyncIterator[_Sized]) -> AsyncIterator[Any]:
        pace = Pace(self._limits)
        async for request, size in requests:
            yield request
            if wait := pace.read(size, time.monotonic()):
                self._metrics.throttled()
                await asyncio.sleep(wait)

    def _supply(self, node: Node, names: tuple[str, ...]) -> None:
        """Only proxies that have a stream for each type need it, and their operators few of them."""
        for conversation in self._conversations:
            if (other := conversation.node) and (other.id, other.cluster) == (node.id, node.cluster):
                conversation.supply(names)
