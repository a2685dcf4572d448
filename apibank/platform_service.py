"""The platform's process: health, figures and administration, behind the platform gateway (R28-R36)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from apibank import __version__
from apibank.agent_names import agents_of
from apibank.agents_service import demo_place, orchestration, queue_name
from apibank.audit_trail import subject_key
from apibank.counted import Counted
from apibank.demo_agents import run_agents
from apibank.message_bus import MEMORY, open_bus
from apibank.migrating import migrate_later, migrated
from apibank.observed import listener_of, observe, process_registry
from apibank.platform_probes import agents_probe, database_probe, gateways_probe, store_probe
from apibank.policies import PolicyFolder
from apibank.portal_service import FollowedPolicies
from apibank.web import serve_web
from authz.audit import Pseudonyms
from messaging.bus import Bus
from policy.model import Gateway
from portal.agent_commands import PLATFORM
from portal.agent_restarts import AgentRestarts
from portal.agent_state import active
from portal.platform_api import HealthCheck, PlatformProbes
from portal.platform_app import platform_app
from portal.platform_figures import FiguresOfNow
from records.audit_log import AuditLog
from records.database import Database
from records.fact_versions import FactVersions
from records.request_figures import RequestFigures
from records.request_log import RequestLog


@dataclass(frozen=True, slots=True)
class PlatformService:
    """What the service is told when it starts.

    `telemetry`: the database with the log of requests. `bus`: a store's URL; or `memory`, and then messages for agents
    are taken at `orchestration_listen` by this process, which is the demo agents, too. `name`: what no other process
    of the platform is called; empty: this machine's name.
    """

    folder: PolicyFolder
    listen: str
    store: str
    bus: str
    database: str
    telemetry: str
    key_file: Path
    name: str = ""
    orchestration_listen: str | None = None


async def run_platform(service: PlatformService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises OSError or ValueError where it cannot start."""
    registry = process_registry()
    pseudonyms = Pseudonyms(subject_key(service.key_file))
    async with AsyncExitStack() as held:
        bus, store = _opened(held, service.bus), None
        if service.store != MEMORY:
            store = bus if service.store == service.bus else _opened(held, service.store)
        database = await held.enter_async_context(Database(service.database))
        telemetry = await held.enter_async_context(Database(service.telemetry))
        away = [url for url in {service.database, service.telemetry} if not await migrated(url)]
        policies = FollowedPolicies(service.folder)
        await policies.take()
        names = partial(_agents, policies)
        restarts = AgentRestarts(bus, AuditLog(database), PLATFORM + queue_name(service.name), names, pseudonyms.of)
        application = platform_app(
            HealthCheck(_probes(store, database, policies, bus)),
            FiguresOfNow(RequestFigures(telemetry), _count(bus, names)),
            restarts,
            RequestLog(telemetry),
            AuditLog(database),
            __version__,
        )
        observe(application, registry, _always)
        counted: ASGIApp = Counted(application)
        listeners = [listener_of(counted, service.listen)]
        async with asyncio.TaskGroup() as running:
            for url in away:
                running.create_task(migrate_later(url, stop))
            if service.bus == MEMORY and service.orchestration_listen is not None:
                running.create_task(run_agents(names, demo_place(bus), registry, stop))
                listeners.append(orchestration(bus, names, registry, service.orchestration_listen))
            running.create_task(policies.follow(stop))
            running.create_task(restarts.follow(stop))
            running.create_task(serve_web(listeners, stop))


def _opened(held: AsyncExitStack, url: str) -> Bus:
    bus = open_bus(url)
    held.push_async_callback(bus.close)
    return bus


def _probes(store: Bus | None, database: Database, policies: FollowedPolicies, bus: Bus) -> PlatformProbes:
    versions = FactVersions(database)
    return PlatformProbes(
        database=database_probe(versions),
        redis=store_probe(store),
        gateways=gateways_probe(versions, lambda: frozenset(policies())),
        agents=agents_probe(bus, partial(_agents, policies)),
    )


def _agents(policies: Callable[[], Mapping[str, Gateway]]) -> frozenset[str]:
    return agents_of(policies())


def _count(bus: Bus, names: Callable[[], frozenset[str]]) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        return len(await active(bus, names()))

    return count


async def _always() -> bool:
    # What is wrong with the rest is what its health tells.
    return True
