"""The gRPC service envoy.service.ratelimit.v3.RateLimitService, on either of two servers."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ratelimit.limiter import RateLimiter
from ratelimit.native_front import NativeFront
from ratelimit.service import Failure, RateLimitService

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
ServerKind = Literal["native", "grpcio"]
_Context = grpc.aio.ServicerContext

_OPTIONS: Final = (("grpc.so_reuseport", 0),)
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _stop: Callable[[float], Awaitable[None]]

    async def stop(self, grace: float = 2.0) -> None:
        """Stops taking calls and gives those under way `grace` seconds."""
        await self._stop(grace)


async def serve(
    limiter: RateLimiter,
    listen: str,
    kind: ServerKind = "native",
    credentials: grpc.ServerCredentials | None = None,
    *,
    exposed: bool = False,
) -> Running:
    """Serves limits on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped, with gRPC health.

    Whoever reaches this port can use up anybody's limits, so without TLS it is a Unix socket or a loopback address,
    unless `exposed` says that a network of its own protects it: ValueError otherwise. TLS needs `kind="grpcio"`.
    RuntimeError when the address is taken.
    """
    if credentials is None and not exposed and not _is_private(listen):
        raise ValueError(f"ratelimit on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if credentials is not None and kind != "grpcio":
        raise ValueError("TLS is served by grpcio only")
    service = RateLimitService(limiter)
    if kind == "native":
        front = NativeFront(service, SERVICE, listen)
        front.start()
        return Running(0 if listen.startswith("unix:") else front.port, front.stop)
    server = grpc.aio.server(options=_OPTIONS)
    add_to(server, service)
    await _add_health(server)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return Running(0 if listen.startswith("unix:") else port, server.stop)


def add_to(server: grpc.aio.Server, service: RateLimitService) -> None:
    """Serve on an asyncio server that has not started yet: `grpc.aio.server()` or `pygrpc_native.aio.server()`."""

    async def should_rate_limit(raw: bytes, context: "_Context[bytes, bytes]") -> bytes:
        (answer,) = await service.answer_many((raw,))
        if isinstance(answer, Failure):
            await context.abort(_CODES[answer.status], answer.message)
        return answer

    handlers = {"ShouldRateLimit": grpc.unary_unary_rpc_method_handler(should_rate_limit)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]


def _is_private(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


async def _add_health(server: grpc.aio.Server) -> None:
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    for name in ("", SERVICE):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
