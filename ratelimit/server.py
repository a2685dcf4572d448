"""The gRPC service envoy.service.ratelimit.v3.RateLimitService: one handler, on either of two servers.

Its messages are bytes here: requests that are alike are found by their bytes, and answers are written as bytes.
"""

import ipaddress
import time
import traceback
from dataclasses import dataclass
from typing import Final, Literal, NoReturn

import grpc
import pygrpc_native.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from ratelimit.limiter import RateLimiter, Undecided
from ratelimit.plan_cache import PlanCache
from ratelimit.wire import UnreadableRequestError

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
ServerKind = Literal["native", "grpcio"]
_Context = grpc.aio.ServicerContext

_LOG: Final = structlog.get_logger(__name__)
_OPTIONS: Final = (("grpc.so_reuseport", 0),)


class RateLimitService:
    """ShouldRateLimit, for `grpc.aio.server()` and `pygrpc_native.aio.server()` alike.

    What cannot be decided is no answer but an error, UNAVAILABLE or INTERNAL, which Envoy's filter turns into a 503.
    """

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter, self._metrics = limiter, limiter.metrics
        self._plans = PlanCache(limiter)

    def add_to(self, server: "grpc.aio.Server") -> None:
        """Serve on a server that has not started yet."""
        handlers = {"ShouldRateLimit": grpc.unary_unary_rpc_method_handler(self.ShouldRateLimit)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]

    async def ShouldRateLimit(self, raw: bytes, context: "_Context[bytes, bytes]") -> bytes:  # noqa: N802 the protocol's
        """A RateLimitResponse for a RateLimitRequest, both serialised."""
        start = time.perf_counter()
        try:
            plan, writer = self._plans.find(raw)
            decision = await self._limiter.decide(plan)
            answer = None if isinstance(decision, Undecided) else writer.write(decision)
        except UnreadableRequestError as error:
            self._metrics.invalid()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception as error:  # noqa: BLE001 whatever it was, the request must not pass by it
            await self._fail(error, context)
        self._metrics.took(time.perf_counter() - start)
        if answer is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the counters cannot be reached")
        return answer

    async def _fail(self, error: Exception, context: "_Context[bytes, bytes]") -> NoReturn:
        self._metrics.failed()
        # Its type and place, not its text, which may hold a descriptor.
        place = traceback.extract_tb(error.__traceback__)[-1]
        _LOG.error("limit_failed", error=type(error).__name__, file=place.filename, line=place.lineno)
        await context.abort(grpc.StatusCode.INTERNAL, "the limits could not be decided")


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _server: "grpc.aio.Server"

    async def stop(self, grace: float = 2.0) -> None:
        """Stops taking calls and gives those under way `grace` seconds."""
        await self._server.stop(grace)


async def serve(
    limiter: RateLimiter,
    listen: str,
    kind: ServerKind = "native",
    credentials: grpc.ServerCredentials | None = None,
) -> Running:
    """Serves limits on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped, with gRPC health.

    Whoever reaches this port can use up anybody's limits, so without TLS it is a Unix socket or a loopback address:
    ValueError otherwise. TLS needs `kind="grpcio"`. RuntimeError when the address is taken.
    """
    if credentials is None and not _is_private(listen):
        raise ValueError(f"ratelimit on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if credentials is not None and kind != "grpcio":
        raise ValueError("TLS is served by grpcio only")
    server = pygrpc_native.aio.server(options=_OPTIONS) if kind == "native" else grpc.aio.server(options=_OPTIONS)
    RateLimitService(limiter).add_to(server)
    await _add_health(server)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return Running(0 if listen.startswith("unix:") else port, server)


def _is_private(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


async def _add_health(server: "grpc.aio.Server") -> None:
    servicer = health.aio.HealthServicer()  # type: ignore[attr-defined]
    for name in ("", SERVICE):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
