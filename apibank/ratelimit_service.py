"""A rate-limit service on its own, from envoyproxy/ratelimit's configuration files, without any policy."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

import ratelimit.server
from apibank.observed import listener_of, observed_app, process_registry
from apibank.settings import GrpcServer
from apibank.watching import bursts
from apibank.web import serve_web
from policy.problem import PolicyError
from ratelimit.config_files import read_folder, reload_folder
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.redis_store import RedisStore

_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RateLimitService:
    """What the service is told when it starts. `store`: memory, or a redis URL."""

    config: Path
    listen: str
    metrics_listen: str
    store: str
    grpc_server: GrpcServer
    exposed: bool = False


async def run_ratelimit(service: RateLimitService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises ValueError where the files are wrong at the start, OSError where they are not there.

    A later mistake leaves the rules in force, and is counted.
    """
    registry = process_registry()
    async with AsyncExitStack() as held:
        counters = MemoryStore() if service.store == "memory" else RedisStore.from_url(service.store)
        held.push_async_callback(counters.close)
        limiter = RateLimiter(counters, RateLimitMetrics(registry))
        try:
            limiter.install_all(await asyncio.to_thread(read_folder, service.config))
        except PolicyError as error:
            raise ValueError(str(error)) from error
        running = await ratelimit.server.serve(limiter, service.listen, service.grpc_server, exposed=service.exposed)
        held.push_async_callback(running.stop)
        application = observed_app(registry, limiter.ready)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_follow(service.config, limiter, stop))
            tasks.create_task(serve_web([listener_of(application, service.metrics_listen)], stop))


async def _follow(config: Path, limiter: RateLimiter, stop: asyncio.Event) -> None:
    async for _ in bursts(config, stop=stop):
        wrong = reload_folder(limiter, config)
        if wrong is not None:
            _LOG.error("config_refused", error=str(wrong))
