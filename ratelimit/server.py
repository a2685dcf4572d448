"""The gRPC service envoy.service.ratelimit.v3.RateLimitService, on either of two servers."""

from typing import Final

import grpc

from ratelimit.limiter import RateLimiter
from ratelimit.service import Charged, RateLimitService
from rpc.server import Running, ServerKind, serve_method
from rpc.service import Method, Told

SERVICE: Final = "envoy.service.ratelimit.v3.RateLimitService"
# The metadata in which Envoy sends the id of the request that it asks about, where it is configured to.
REQUEST_ID: Final = "x-request-id"
# More than are charged at once in a store gain nothing.
_AT_ONCE: Final = 256


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
    return await serve_method(limit_method(limiter), listen, kind, credentials, exposed=exposed)


def limit_method(limiter: RateLimiter) -> Method[Charged]:
    return Method(
        SERVICE,
        "ShouldRateLimit",
        RateLimitService(limiter),
        lambda name: name in {"", SERVICE},
        at_once=_AT_ONCE,
        told=Told(REQUEST_ID, Charged.tell),
    )
