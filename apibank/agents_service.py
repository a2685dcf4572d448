"""The orchestration engine, which takes messages for agents, and the demo agents, which do what is in them."""

import asyncio
import re
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from apibank.agent_names import agents_of
from apibank.counted import Counted
from apibank.demo_agents import Place, run_agents
from apibank.message_bus import LIMITS, MEMORY, open_bus
from apibank.observed import listener_of, observe, observed_app, process_registry
from apibank.policies import PolicyFolder
from apibank.portal_service import FollowedPolicies
from apibank.web import WebListener, serve_web
from messaging.bus import Bus
from portal.messages_api import message_routes
from portal.refusals import refusals_are_problems

_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_-]")

Names = Callable[[], frozenset[str]]


@dataclass(frozen=True, slots=True)
class OrchestrationService:
    """What takes messages: `bus` is a store's URL, or `memory`, and then the demo agents are in this process, too."""

    folder: PolicyFolder
    listen: str
    bus: str


@dataclass(frozen=True, slots=True)
class AgentsService:
    """The demo agents. `name`: what no other process of them is called; empty: this machine's name."""

    folder: PolicyFolder
    metrics_listen: str
    bus: str
    name: str = ""


async def run_orchestration(service: OrchestrationService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises OSError or ValueError where it cannot start."""
    registry = process_registry()
    async with AsyncExitStack() as held:
        policies, bus = await _held(held, service.folder, service.bus)
        names = partial(_names, policies)
        async with asyncio.TaskGroup() as running:
            running.create_task(policies.follow(stop))
            if service.bus == MEMORY:
                running.create_task(run_agents(names, demo_place(bus), registry, stop))
            running.create_task(serve_web([orchestration(bus, names, registry, service.listen)], stop))


async def run_demo_agents(service: AgentsService, stop: asyncio.Event) -> None:
    """Be the agents until stopped. Raises OSError or ValueError where it cannot start."""
    if service.bus == MEMORY:
        raise ValueError("messages in one process's memory reach no other: give the agents a store's URL")
    registry = process_registry()
    async with AsyncExitStack() as held:
        policies, bus = await _held(held, service.folder, service.bus)
        shown = listener_of(observed_app(registry, bus.ready), service.metrics_listen)
        async with asyncio.TaskGroup() as running:
            running.create_task(policies.follow(stop))
            running.create_task(run_agents(partial(_names, policies), demo_place(bus, service.name), registry, stop))
            running.create_task(serve_web([shown], stop))


def orchestration(bus: Bus, names: Names, registry: CollectorRegistry, listen: str) -> WebListener:
    """Where messages are handed over."""
    application = FastAPI(openapi_url=None)
    application.include_router(message_routes(bus, names))
    refusals_are_problems(application)
    observe(application, registry, bus.ready)
    counted: ASGIApp = Counted(application)
    return listener_of(counted, listen)


def demo_place(bus: Bus, name: str = "") -> Place:
    """How demo agents of this process take their messages."""
    return Place(bus, queue_name(name), LIMITS.lease)


def queue_name(name: str = "") -> str:
    """A name as the bus takes them, of the machine unless one is given."""
    return _NO_NAME.sub("-", name or socket.gethostname())[:100]


def _names(policies: FollowedPolicies) -> frozenset[str]:
    return agents_of(policies())


async def _held(held: AsyncExitStack, folder: PolicyFolder, store: str) -> tuple[FollowedPolicies, Bus]:
    bus = open_bus(store)
    held.push_async_callback(bus.close)
    policies = FollowedPolicies(folder)
    await policies.take()
    return policies, bus
