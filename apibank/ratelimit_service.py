"""A rate-limit service on its own, from envoyproxy/ratelimit's configuration files, without any policy."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

import ratelimit.server
from apibank.folder_changes import FolderChanges
from apibank.limit_calls import calls_app
from apibank.observed import listener_of, observed_app, process_registry
from apibank.served_tls import ServedTls
from apibank.settings import GrpcServer
from apibank.web import WebListener, serve_web
from policy.problem import PolicyError
from ratelimit.config_files import FileOptions, config_files, install, looked_into
from ratelimit.limiter import RateLimiter
from ratelimit.local_limits import LocalLimits
from ratelimit.metrics import RateLimitMetrics
from ratelimit.store_metrics import StoreMetrics
from ratelimit.stores import open_store
from rpc.server import Running, is_private

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RateLimitService:
    """What the service is told when it starts. `store`: memory, or a store's URL. `http_listen`: apibank.limit_calls.

    `counters`: as many at most with the store `memory`. `replicas`: processes that count together, of which each has
    its share while the store is away, where `options` say so.

    With TLS it is grpcio that serves, whatever `grpc_server` says.
    """

    config: Path
    listen: str
    metrics_listen: str
    store: str
    grpc_server: GrpcServer
    exposed: bool = False
    http_listen: str | None = None
    options: FileOptions | None = None
    tls: ServedTls | None = None
    counters: int = 1_000_000
    replicas: int = 1


async def run_ratelimit(service: RateLimitService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises ValueError where the files are wrong at the start, OSError where they are not there.

    A later mistake leaves the rules in force, and is counted.
    """
    registry = process_registry()
    async with AsyncExitStack() as held:
        counters = open_store(service.store, most_counters=service.counters)
        held.push_async_callback(counters.close)
        registry.register(StoreMetrics(counters))
        limiter = RateLimiter(counters, RateLimitMetrics(registry), local=LocalLimits(service.replicas))
        changes = FolderChanges(partial(config_files, service.config))
        wrong = await _reload(service, limiter)
        if wrong is not None:
            raise ValueError(str(wrong)) if isinstance(wrong, PolicyError) else wrong
        listeners = [listener_of(observed_app(registry, limiter.ready), service.metrics_listen)]
        if service.http_listen is not None:
            listeners.append(_calls(limiter, service.http_listen, service.exposed))
        running = await _serve(service, limiter)
        held.push_async_callback(running.stop)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_follow(service, changes, limiter, stop))
            tasks.create_task(serve_web(listeners, stop))


async def _reload(service: RateLimitService, limiter: RateLimiter) -> PolicyError | OSError | None:
    wrong = install(limiter, await asyncio.to_thread(looked_into, service.config, service.options))
    if not limiter.domains:
        _LOG.warning(
            "nothing_is_limited", folder=str(service.config), detail="there is no *.yaml or *.yml with a domain"
        )
    return wrong


async def _serve(service: RateLimitService, limiter: RateLimiter) -> Running:
    if service.tls is None:
        return await ratelimit.server.serve(limiter, service.listen, service.grpc_server, exposed=service.exposed)
    return await ratelimit.server.serve(limiter, service.listen, "grpcio", service.tls.credentials())


def _calls(limiter: RateLimiter, listen: str, exposed: bool) -> WebListener:
    if not exposed and not is_private(listen):
        raise ValueError(f"HTTP on {listen} is not protected: only a loopback address goes without --exposed")
    return listener_of(calls_app(limiter), listen)


async def _follow(service: RateLimitService, changes: FolderChanges, limiter: RateLimiter, stop: asyncio.Event) -> None:
    async for _ in changes.until(stop):
        wrong = await _reload(service, limiter)
        if wrong is not None:
            _LOG.error("config_refused", error=str(wrong))
        else:
            _LOG.info("config_loaded", domains=len(limiter.domains))
