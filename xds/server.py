"""The gRPC shell: the aggregated discovery service and one of each type, in both dialects, health and reflection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import CollectorRegistry

from xds import access, wire
from xds.conversation import Conversation
from xds.metrics import XdsMetrics
from xds.protocol.delta import Delta
from xds.protocol.dialect import Dialect
from xds.protocol.sotw import Sotw
from xds.protocol.stream import PATIENCE_SECONDS, Stream
from xds.publisher import Publisher

# An Envoy's first request holds a node of 60 kB and the versions of all resources it has.
MAX_REQUEST_BYTES: Final = 32 * 1024 * 1024
# What gRPC clients other than Envoy receive unless told otherwise.
MAX_RESPONSE_BYTES: Final = 4 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # A proxy that went away without a word is noticed within 40 seconds; one that pings us itself is welcome to.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
)
_Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _server: grpc.aio.Server
    _discovery: _Discovery

    async def stop(self, grace: float = 2.0) -> None:
        """Take no more streams, end the open ones cleanly, and cut off what has not ended after `grace` seconds."""
        await self._discovery.health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace))
        self._discovery.close()
        await stopping


async def serve(
    publisher: Publisher,
    listen: str,
    *,
    identifier: str,
    credentials: grpc.ServerCredentials | None = None,
    trust_domain: str = "",
    metrics: XdsMetrics | None = None,
    patience: float = PATIENCE_SECONDS,
    linger: float = 0.0,
) -> RunningServer:
    """Serve xDS on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped.

    `identifier` names this replica in every response. With `credentials`, which must demand client certificates, the
    certificate decides which node may speak (`access.denial`); without, only a Unix socket or a loopback address is
    served. `patience` and `linger` are those of `Stream`, in seconds. ValueError where neither is so, RuntimeError when
    the address is taken.
    """
    if credentials is None and not access.is_private(listen):
        raise ValueError(f"xDS on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if (credentials is None) != (trust_domain == ""):
        raise ValueError("TLS credentials and a trust domain go together")
    metrics = metrics or XdsMetrics(CollectorRegistry())
    publisher.observe(metrics.published)
    discovery = _Discovery(
        publisher, metrics, identifier, trust_domain, partial(Stream, patience=patience, linger=linger)
    )
    server = grpc.aio.server(options=_OPTIONS)
    await discovery.register(server)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return RunningServer(0 if listen.startswith("unix:") else port, server, discovery)


class _Discovery:
    """What all streams of a server share."""

    def __init__(
        self,
        publisher: Publisher,
        metrics: XdsMetrics,
        identifier: str,
        trust_domain: str,
        stream: Callable[..., Stream[Any]],
    ) -> None:
        self.health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._publisher = publisher
        self._metrics = metrics
        self._identifier = identifier
        self._trust_domain = trust_domain
        self._stream = stream
        self._conversations: set[Conversation[Any]] = set()

    async def register(self, server: grpc.aio.Server) -> None:
        services = ((None, wire.AGGREGATED), *wire.SERVICES.items())
        server.add_generic_rpc_handlers(tuple(self._handlers(only, *service) for only, service in services))
        names = [name for _, (name, _) in services]
        for name in ("", *names):
            await self.health.set(name, health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, server)
        wire.describe_services()
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)

    def close(self) -> None:
        for conversation in self._conversations:
            conversation.close()

    def _handlers(self, only: str | None, service: str, methods: str) -> grpc.GenericRpcHandler[Any, Any]:
        by_name = {
            prefix + methods: grpc.stream_stream_rpc_method_handler(
                partial(self._converse, dialect, only),
                request_deserializer=read,
                response_serializer=partial(write, identifier=self._identifier),
            )
            for prefix, dialect, read, write in (
                ("Stream", Sotw(), wire.read_sotw, wire.write_sotw),
                ("Delta", Delta(), wire.read_delta, wire.write_delta),
            )
            if prefix == "Delta" or only not in wire.DELTA_ONLY
        }
        return grpc.method_handlers_generic_handler(service, by_name)

    async def _converse(
        self, dialect: Dialect[Any], only: str | None, requests: AsyncIterator[Any], context: _Context
    ) -> None:
        trusted = self._trust_domain
        conversation: Conversation[Any] = Conversation(
            self._stream(dialect, only=only),
            self._publisher,
            self._metrics,
            peer=context.peer(),
            admit=lambda node: trusted and access.denial(node, context.auth_context(), trusted),
            limit=lambda node: None if node.user_agent == "envoy" else MAX_RESPONSE_BYTES,
            clock=time.monotonic,
        )
        self._conversations.add(conversation)
        try:
            ended = await conversation.run(requests, context.write)
        finally:
            self._conversations.discard(conversation)
        if ended.status != "OK":
            await context.abort(grpc.StatusCode[ended.status], ended.reason)
