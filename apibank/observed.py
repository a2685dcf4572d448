"""What every service process shows to Prometheus and to whoever asks whether it does its work."""

from collections.abc import Awaitable, Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from apibank.web import WebListener


def process_registry() -> CollectorRegistry:
    """A registry with the process's own figures: memory, CPU, file descriptors, garbage collection."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def observed_app(registry: CollectorRegistry, ready: Callable[[], Awaitable[bool]], *more: BaseRoute) -> ASGIApp:
    """`/metrics` for Prometheus, `/ready` with 200 or 503, `/healthz` with 200 while the process lives; and `more`."""
    return Starlette(routes=[*_routes(registry, ready), *more])


def observe(application: Starlette, registry: CollectorRegistry, ready: Callable[[], Awaitable[bool]]) -> None:
    """The same beside an application's own routes; what neither has is answered as the application does."""
    application.router.routes.extend(_routes(registry, ready))


def _routes(registry: CollectorRegistry, ready: Callable[[], Awaitable[bool]]) -> list[BaseRoute]:

    async def readiness(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ready\n") if await ready() else PlainTextResponse("not ready\n", 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    async def health(_: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    return [Route("/ready", readiness), Route("/healthz", health), Route("/metrics", metrics)]


def listener_of(application: ASGIApp, listen: str) -> WebListener:
    """An application at HOST:PORT. Raises ValueError where that is no address."""
    host, separator, port = listen.rpartition(":")
    if not separator or not port.isdigit():
        raise ValueError(f"{listen!r} is not HOST:PORT")
    return WebListener(application, host.strip("[]"), int(port))
