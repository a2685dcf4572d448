"""The gRPC shell of the access log: `envoy.service.accesslog.v3.AccessLogService`."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos import als_pb2 as pb
from rpc.server import is_private
from telemetry.access_log import wire
from telemetry.access_log.record import AccessRecord

_LOG: Final = structlog.get_logger(__name__)
_Context = grpc.aio.ServicerContext[Any, Any]
# Envoy sends some 64 kB at a time; a single entry has no more than its request's headers.
_MAX_MESSAGE: Final = 4 * 1024 * 1024
# An Envoy keeps one stream for each of its listeners.
_MAX_STREAMS: Final = 4_096
_MAX_CONNECTIONS: Final = 1_024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE),
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_allowed_incoming_connections", _MAX_CONNECTIONS),
)


class Collector(Protocol):
    """Where records go. It never waits: what it has no room for it counts, and drops."""

    def take(self, records: Iterable[AccessRecord]) -> None: ...

    def unreadable(self) -> None:
        """A message came that is none."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _server: grpc.aio.Server
    _health: health.aio.HealthServicer  # type: ignore[name-defined]
    _stopping: asyncio.Event

    async def stop(self, grace: float = 2.0) -> None:
        """Take what has been sent already, and end the streams; cut off what has not ended after `grace` seconds."""
        await self._health.enter_graceful_shutdown()
        self._stopping.set()
        await self._server.stop(grace)


async def serve(
    collector: Collector,
    listen: str,
    credentials: grpc.ServerCredentials | None = None,
    *,
    exposed: bool = False,
    beside: "Sequence[grpc.GenericRpcHandler[bytes, bytes]]" = (),
) -> Running:
    """Serve on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped; `beside` it other services.

    Without TLS that is a Unix socket or a loopback address, unless `exposed` says that a network of its own protects
    it: ValueError otherwise. RuntimeError when the address is taken.
    """
    if credentials is None and not exposed and not is_private(listen):
        raise ValueError(f"the access log on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_MAX_STREAMS)
    stopping = asyncio.Event()
    service = _Service(collector, stopping)
    # Read by hand: one message that is none must not cost more than its stream.
    method = grpc.stream_unary_rpc_method_handler(
        service.collect, response_serializer=pb.StreamAccessLogsResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(wire.SERVICE, {wire.METHOD: method}), *beside)
    )
    checks = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    for name in ("", wire.SERVICE):
        await checks.set(name, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return Running(0 if listen.startswith("unix:") else port, server, checks, stopping)


class _Service:
    def __init__(self, collector: Collector, stopping: asyncio.Event) -> None:
        self._collector = collector
        self._stopping = stopping

    async def collect(self, messages: AsyncIterator[bytes], context: _Context) -> pb.StreamAccessLogsResponse:
        reporter: wire.Reporter | None = None
        reading = asyncio.ensure_future(anext(messages, None))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    break
                raw = reading.result()
                if raw is None:
                    break
                reporter, records = wire.read_message(raw, reporter)
                if reporter is None:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message does not say who reports")
                self._collector.take(records)
                reading = asyncio.ensure_future(anext(messages, None))
        except DecodeError:
            self._collector.unreadable()
            _LOG.warning("access_log_unreadable", gateway=reporter.gateway if reporter else "")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the stream holds something that is no access log")
        finally:
            for task in (reading, stopping):
                task.cancel()
        return pb.StreamAccessLogsResponse()
