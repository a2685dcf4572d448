"""The platform's API as one application: what it takes, what it answers, and the document that says so."""

from collections.abc import Awaitable, Callable
from typing import Final

from fastapi import Depends, FastAPI

from portal.parameters import only_known_parameters
from portal.platform_admin import Restarts, admin_routes
from portal.platform_api import HealthCheck, platform_router
from portal.platform_figures import PlatformFigures, figures_routes
from portal.refusals import documented_refusals, refusals_are_problems
from records.audit_log import AuditLog
from records.request_log import RequestLog

# Below what the gateway keeps for administrators.
DOCUMENT_PATH: Final = "/api/platform/admin/openapi.json"
_ABOUT: Final = "How healthy the platform is, what the last minute was like, and administration."


def platform_app(
    health: HealthCheck,
    figures: Callable[[], Awaitable[PlatformFigures]],
    restarts: Restarts,
    log: RequestLog,
    audit: AuditLog,
    version: str = "0",
) -> FastAPI:
    """The API as an ASGI application."""
    app = FastAPI(
        title="Platform API",
        version=version,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=DOCUMENT_PATH,
        responses=documented_refusals("Not done: `code` and `detail` say why."),
        dependencies=[Depends(only_known_parameters)],
    )
    app.include_router(platform_router(health))
    app.include_router(figures_routes(figures))
    app.include_router(admin_routes(restarts, log, audit))
    refusals_are_problems(app)
    return app
