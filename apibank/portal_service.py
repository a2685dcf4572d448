"""The portal's process: what people meet through the central gateway.

It has the API reference (R114, R115), and the developer portal where there is an issuer to sign in at (R116-R120).
"""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response

from apibank.developer.service import DeveloperPlace, developer_portal
from apibank.migrating import migrate_later
from apibank.observed import listener_of, observe, process_registry
from apibank.policies import PolicyFolder
from apibank.web import serve_web
from policy.model import Gateway
from portal.developer.site import add_developer_portal
from portal.problems import Refused, problem
from portal.reference.documents import PolicyDocuments
from portal.reference.site import reference_routes

_LOG: Final = structlog.get_logger(__name__)

# Whose operations outsiders may know. Agents talk to each other behind a door of their own (R64).
PUBLIC_DOMAINS: Final = ("platform", "marketing", "education", "sales")


@dataclass(frozen=True, slots=True)
class PortalService:
    """What the portal is told when it starts. Without `developer` it has the API reference alone."""

    folder: PolicyFolder
    listen: str
    developer: DeveloperPlace | None = None


class FollowedPolicies:
    """The policies as their files say; of a file that is broken, what it said before."""

    def __init__(self, folder: PolicyFolder) -> None:
        self._folder = folder
        self._good: Mapping[str, Gateway] = {}

    def __call__(self) -> Mapping[str, Gateway]:
        return self._good

    async def take(self) -> None:
        """Read the files again where they have changed."""
        found = await asyncio.to_thread(self._folder.load)
        for name, error in found.errors.items():
            _LOG.error("policy_refused", gateway=name, error=str(error))
        kept = {name: self._good[name] for name in found.errors if name in self._good}
        self._good = {**kept, **{name: loaded.gateway for name, loaded in found.gateways.items()}}

    async def follow(self, stop: asyncio.Event) -> None:
        """Take every change until stopped."""
        async for _ in self._folder.changes(stop):
            await self.take()


async def run_portal(service: PortalService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises OSError or ValueError where it cannot start."""
    policies = FollowedPolicies(service.folder)
    await policies.take()
    registry = process_registry()

    async def ready() -> bool:
        return bool(policies())

    application = FastAPI(openapi_url=None)
    application.include_router(reference_routes(PolicyDocuments(policies, PUBLIC_DOMAINS, version("apibank"))))
    application.add_exception_handler(Refused, _refused)
    application.add_exception_handler(404, _nowhere)
    observe(application, registry, ready)
    tasks: list[Coroutine[None, None, None]] = []
    async with AsyncExitStack() as held:
        if service.developer is not None:
            portal, courier = await held.enter_async_context(developer_portal(service.developer, policies))
            add_developer_portal(application, portal)
            # Meanwhile the reference is served: making tables takes longest where many processes start at once.
            tasks += [migrate_later(url, stop) for url in service.developer.databases]
            tasks.append(courier.run(stop))
        async with asyncio.TaskGroup() as running:
            running.create_task(policies.follow(stop))
            for task in tasks:
                running.create_task(task)
            running.create_task(serve_web([listener_of(application, service.listen)], stop))


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refused)
    return problem(refusal.status, refusal.code, str(refusal), refusal.errors)


async def _nowhere(_: Request, __: Exception) -> Response:
    return problem(404, "not_found", "There is no such page.")
