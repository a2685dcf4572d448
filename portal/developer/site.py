"""The developer portal as a whole: its pages below /portal, and what it says where there is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from policy.model import Gateway
from portal.developer.browser import HOME, Doorkeeper, Elsewhere, Refusal, Sessions
from portal.developer.errors import ErrorPage, error_routes
from portal.developer.home import home_routes
from portal.developer.keys import KeyPages, OwnKeys, key_routes
from portal.developer.limits import OwnLimits, limit_routes
from portal.developer.pages import ASSETS, asset, page
from portal.developer.requests import OwnRequests, request_routes
from portal.developer.samples import sample_routes
from portal.developer.sign_in import Issuing, sign_in_routes
from portal.developer.usage import OwnUsage, usage_routes
from portal.developer.webhooks import OwnWebhooks, WebhookPages, webhook_routes
from portal.sre.console import Console, console_routes
from portal.sre.editor import policy_pages
from portal.sre.explain import explain_pages
from portal.sre.past import past_pages
from portal.sre.traces import TraceLog, trace_pages
from portal.sre.traffic import traffic_pages


@dataclass(frozen=True, slots=True)
class DeveloperPortal:
    """What the pages ask. `origins`: where browsers reach them, https://HOST[:PORT]; the first is its own name."""

    issuing: Issuing
    sessions: Sessions
    origins: tuple[str, ...]
    keys: OwnKeys
    limits: OwnLimits
    usage: OwnUsage
    requests: OwnRequests
    webhooks: OwnWebhooks
    errors: Callable[[], Mapping[str, ErrorPage]]
    policies: Callable[[], Mapping[str, Gateway]]
    clock: Callable[[], datetime]
    console: Console | None = None
    traces: TraceLog | None = None


def add_developer_portal(app: FastAPI, portal: DeveloperPortal) -> None:
    """Add its pages to an application, with full paths: no gateway strips a prefix."""
    door = Doorkeeper(portal.sessions, portal.origins)
    app.include_router(_files())
    app.include_router(home_routes(door, portal.keys, portal.usage, portal.clock))
    app.include_router(sign_in_routes(portal.issuing, portal.sessions, door))
    app.include_router(key_routes(KeyPages(door, portal.keys, portal.policies, portal.clock)))
    app.include_router(limit_routes(door, portal.limits))
    app.include_router(sample_routes(door, portal.policies))
    app.include_router(usage_routes(door, portal.usage, portal.clock, portal.keys))
    app.include_router(request_routes(door, portal.requests))
    app.include_router(error_routes(door, portal.errors))
    app.include_router(webhook_routes(WebhookPages(door, portal.webhooks, portal.clock)))
    if portal.console is not None:
        app.include_router(console_routes(door, portal.console))
        app.include_router(policy_pages(door, portal.console.control))
        app.include_router(past_pages(door, portal.console.control))
        app.include_router(explain_pages(door, portal.console.control))
        app.include_router(traffic_pages(door, portal.console.traffic, portal.console.clock))
    if portal.traces is not None:
        app.include_router(trace_pages(door, portal.traces))
    # Last: whatever has no page.
    app.include_router(_nowhere())

    @app.exception_handler(Elsewhere)
    async def elsewhere(_: Request, error: Exception) -> Response:
        assert isinstance(error, Elsewhere)
        return RedirectResponse(error.location, 303, headers={"cache-control": "no-store"})

    @app.exception_handler(Refusal)
    async def refusal(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        try:
            visit = await door.visitor(request)
        except Refusal:
            visit = None
        return page("refusal.html", visit, status=error.status, title=error.title, text=error.text)


def _files() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get(f"{ASSETS}/{{name}}")
    async def file(name: str) -> Response:
        found = asset(name)
        if found is None:
            raise _no_page()
        return found

    return router


def _nowhere() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get(HOME + "/{rest:path}")
    async def nowhere(rest: str) -> Response:
        raise _no_page()

    return router


def _no_page() -> Refusal:
    return Refusal(404, "There is no such page", "It may have moved, or its address may be mistyped.")
