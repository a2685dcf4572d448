"""The control API: what the command line asks a running control plane. HTTP, for scripts, with a secret.

Every answer is JSON; refusals are problem+json (RFC 9457).
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Security
from fastapi.responses import Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from portal.change_record import ChangeRecord, changed
from portal.consents_api import Consents, consent_routes
from portal.explain_api import Explanations, explain_routes
from portal.limits_api import Limits, limit_routes
from portal.parameters import only_known_parameters
from portal.policies_api import Endpoints, Policies, endpoint_routes, oversized, policy_routes
from portal.problems import Refused, problem
from portal.refusals import documented_refusals, refusals_are_problems
from portal.revocations_api import Revocations, revocation_routes

_CHALLENGE: Final = 'Bearer realm="control"'
_ABOUT: Final = """What the command line asks a running control plane.

Every answer is JSON, every refusal problem+json (RFC 9457) whose `code` is in the catalogue of errors. A change is
answered when it is in force, or says by which rollout it comes to be."""


class Condition(StrEnum):
    """How a gateway is: `canary running` where some Envoys try a candidate, and the others run what they shall."""

    IN_SYNC = "in sync"
    CANARY_RUNNING = "canary running"
    OUT_OF_SYNC = "out of sync"


@dataclass(frozen=True, slots=True)
class GatewayState:
    """One gateway: the policy that is published, and what is wrong with the one on disk, if anything is.

    `live` of `envoys` run it; `behind` are the node ids of the others, `refused` what any of them refuses, and
    `rolled_back` what is withheld from all of them for that. `restored`: its file has not been good since the start.
    `condition` is all of this in a word.
    """

    gateway: str
    version: str | None
    published_at: datetime | None
    envoys: int
    live: int
    errors: Sequence[dict[str, object]] = field(default_factory=tuple)
    behind: Sequence[str] = ()
    refused: Sequence[Mapping[str, object]] = ()
    rolled_back: Sequence[Mapping[str, object]] = ()
    canary: Mapping[str, object] | None = None
    revision: int | None = None
    restored: bool = False
    endpoints: Sequence[Mapping[str, object]] = ()
    condition: Condition = Condition.OUT_OF_SYNC


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One resource at one Envoy: SYNCED, STALE, NOT SENT or REJECTED, with Envoy's words and the policy's line."""

    gateway: str
    node: str
    type: str
    name: str
    status: str
    version: str | None
    message: str | None = None
    file: str | None = None
    line: int | None = None


class NewKey(BaseModel):
    """A partner key to make."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partner: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
    scopes: Annotated[list[Annotated[str, Field(min_length=3, max_length=200)]], Field(min_length=1, max_length=50)]
    tier: Annotated[str, Field(pattern=r"^(free|business|enterprise)$")] = "business"
    networks: Annotated[list[str], Field(max_length=50)] = []
    expires_in_days: Annotated[int, Field(ge=1, le=90)] = 90


class Rotation(BaseModel):
    """How long the old key goes on beside the new one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    overlap_hours: Annotated[int, Field(ge=0, le=24 * 30)] = 24


class KeyNotFoundError(Exception):
    """No key has that id."""


class BadKeyError(Exception):
    """A key that would be worth nothing, such as one with another partner's scope; the text says why."""


class NotInForceError(Exception):
    """The change is stored, but some gateways did not take it up in time; the text names them."""


class Federation(Protocol):
    """What the control plane knows of itself."""

    def gateways(self) -> Sequence[GatewayState]: ...

    def resources(self) -> Sequence[ResourceState]:
        """The same object as before where nothing has changed."""
        ...


class Keys(Protocol):
    """Partner keys. Each change returns when it is in force on every gateway, or raises NotInForceError."""

    async def create(self, new: NewKey) -> dict[str, object]:
        """The new key's record, with the key itself under `key`: the only time that anybody sees it."""
        ...

    async def list(self) -> Sequence[dict[str, object]]: ...

    async def expiring(self, days: int) -> Sequence[dict[str, object]]:
        """Live keys that end within so many days and have no successor, those that end first first."""
        ...

    async def rotate(self, key_id: str, overlap_hours: int) -> dict[str, object]: ...

    async def revoke(self, key_id: str) -> dict[str, object]: ...


def control_app(
    federation: Federation,
    keys: Keys,
    secret: Callable[[], str],
    policies: Policies | None = None,
    endpoints: Endpoints | None = None,
    revocations: Revocations | None = None,
    consents: Consents | None = None,
    explanations: Explanations | None = None,
    limits: Limits | None = None,
    version: str = "0",
    record: ChangeRecord | None = None,
) -> FastAPI:
    """The API as an ASGI application. `secret` is read at each call, so that it can be replaced while this runs."""
    app = FastAPI(
        title="apibank control API",
        version=version,
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        responses=documented_refusals("Not done, or not in force everywhere yet: `code` and `detail` say which."),
        # For the document alone: the secret is compared ahead of routing (token_first).
        dependencies=[
            Security(HTTPBearer(auto_error=False, description="The control token.")),
            Depends(only_known_parameters),
        ],
    )

    app.include_router(_status_routes(federation))
    app.include_router(_key_routes(keys))
    if policies is not None:
        app.include_router(policy_routes(policies))
    if endpoints is not None:
        app.include_router(endpoint_routes(endpoints))
    if revocations is not None:
        app.include_router(revocation_routes(revocations))
    if consents is not None:
        app.include_router(consent_routes(consents))
    if explanations is not None:
        app.include_router(explain_routes(explanations))
    if limits is not None:
        app.include_router(limit_routes(limits))

    @app.get("/healthz", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    refusals_are_problems(app)

    @app.middleware("http")
    async def token_first(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        # Ahead of routing and of the body: a stranger learns nothing, and has nothing read.
        if request.url.path.startswith("/v1/") and not _knows(secret(), request):
            detail = "Send the control token as Bearer; see control.token."
            return problem(401, "control_token_invalid", detail, headers={"www-authenticate": _CHALLENGE})
        refusal = oversized(request)
        if refusal is not None:
            return refusal
        return await call(request) if record is None else await _recorded(record, request, call)

    return app


async def _recorded(record: ChangeRecord, request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        begun = await record.begin(request)
    except Refused as error:
        return problem(error.status, error.code, str(error))
    answer = None
    try:
        answer = await call(request)
    finally:
        if begun is not None:
            await record.end(begun, request, answer)
    return answer


def _knows(secret: str, request: Request) -> bool:
    given = request.headers.get("authorization", "").encode()
    # An empty file is no secret that anybody could know.
    return secret != "" and hmac.compare_digest(given, b"Bearer " + secret.encode())


def _status_routes(federation: Federation) -> APIRouter:
    router = APIRouter(prefix="/v1")

    # Asked again and again while somebody waits; of thousands of resources, nearly always the same.
    written: list[tuple[Sequence[ResourceState], bytes]] = []

    @router.get("/status")
    async def status(resources: bool = True) -> Response:
        """Each gateway and its Envoys: what is live, refused or tried; and each resource, unless `resources=false`."""
        body = b'{"gateways":' + to_json(federation.gateways())
        if resources:
            shown = federation.resources()
            if not written or written[0][0] is not shown:
                written[:] = [(shown, to_json(shown))]
            body += b',"resources":' + written[0][1]
        return Response(body + b"}", media_type="application/json")

    return router


def _key_routes(keys: Keys) -> APIRouter:
    router = APIRouter(prefix="/v1/keys")

    @router.post("", status_code=201)
    async def create(new: NewKey, request: Request) -> dict[str, object]:
        """Make a key. `key` is in this answer and in no other."""
        made = await _answered(keys.create(new))
        changed(request, made["id"])
        return made

    @router.get("")
    async def list_keys() -> list[dict[str, object]]:
        """All keys, without the keys themselves."""
        return list(await keys.list())

    # What the portal reminds partners of.
    @router.get("/expiring")
    async def expiring(days: Annotated[int, Query(ge=1, le=90)] = 14) -> list[dict[str, object]]:
        """Live keys that end within so many days and have no successor, those that end first first."""
        return list(await keys.expiring(days))

    @router.post("/{key_id}/rotate", status_code=201)
    async def rotate(key_id: str, rotation: Rotation, request: Request) -> dict[str, object]:
        """Make a key with the same rights; the old one ends after the overlap."""
        made = await _answered(keys.rotate(key_id, rotation.overlap_hours))
        changed(request, made["id"])
        return made

    @router.post("/{key_id}/revoke")
    async def revoke(key_id: str) -> dict[str, object]:
        """End a key now."""
        return await _answered(keys.revoke(key_id))

    return router


async def _answered(change: Awaitable[dict[str, object]]) -> dict[str, object]:
    try:
        return await change
    except KeyNotFoundError as error:
        raise Refused(404, "key_not_found", str(error)) from None
    except BadKeyError as error:
        raise Refused(422, "key_not_possible", str(error)) from None
    except NotInForceError as error:
        raise Refused(504, "change_not_in_force", str(error)) from None
