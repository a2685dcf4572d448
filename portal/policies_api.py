"""Policies by the control API: what is live, what would change, and changes that are applied, watched and undone."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from portal.problems import Refused, problem

MAX_TEXT_BYTES: Final = 1024 * 1024
MAX_GATEWAYS: Final = 16
AUTHOR_HEADER: Final = "x-apibank-author"
REASON_HEADER: Final = "x-apibank-reason"
_LONGEST_TEXT: Final = 128
_LEGIBLE: Final = f"up to {_LONGEST_TEXT} printable characters"
# Quotes and escapes of JSON can double a text.
MAX_BODY_BYTES: Final = 2 * MAX_GATEWAYS * MAX_TEXT_BYTES

Record = Mapping[str, object]
GatewayName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
_Message = Annotated[str, Field(max_length=1000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PolicyText(_Body):
    """A gateway's file. `file`: what people call it, for errors."""

    text: Annotated[str, Field(max_length=MAX_TEXT_BYTES)]
    file: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None

    @model_validator(mode="after")
    def _bounded(self) -> "PolicyText":
        if len(self.text.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
            raise ValueError(f"a policy has at most {MAX_TEXT_BYTES} bytes")
        return self


Texts = Annotated[dict[GatewayName, PolicyText], Field(min_length=1, max_length=MAX_GATEWAYS)]


# A version stands for what a policy does. Who is not to lose a comment of another's says which text it was.
Bases = dict[GatewayName, Annotated[str, Field(pattern=r"^([0-9a-f]{4,64}|sha256:[0-9a-f]{64})$")]]


def text_digest(text: str) -> str:
    """What a base may be in the place of a version: `sha256:` and the digest of the text, in UTF-8, as hex."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class CanaryPlan(_Body):
    """Try a change on some of a gateway's Envoys first. `soak` and `within` are seconds."""

    percent: Annotated[int, Field(ge=1, le=100)]
    soak: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    within: Annotated[float, Field(gt=0, le=3600)] = 30.0


class DiffRequest(_Body):
    """What would change. Without `gateways`: by the folder that people write in."""

    gateways: Texts | None = None
    only: Annotated[list[GatewayName], Field(max_length=MAX_GATEWAYS)] | None = None
    resources: bool = False


class ApplyRequest(_Body):
    """What shall change. Without `gateways`: to what the folder says that people write in.

    `bases`: by gateway, the version (or its beginning) or the text's `digest` that must be live, else nothing is
    changed. `wait`: answer when it is live, and not as soon as it has begun; a canary is never waited for.
    """

    gateways: Texts | None = None
    only: Annotated[list[GatewayName], Field(max_length=MAX_GATEWAYS)] | None = None
    bases: Bases = {}
    message: _Message = ""
    canary: CanaryPlan | None = None
    wait: bool = True


class RollbackRequest(_Body):
    """`target`: a revision, or the beginning of a version; without it the last live change is undone.

    `bases`, `wait`: as of an ApplyRequest.
    """

    target: Annotated[str, Field(pattern=r"^[0-9a-f]{1,64}$")] | None = None
    gateway: GatewayName | None = None
    bases: Bases = {}
    message: _Message = ""
    canary: CanaryPlan | None = None
    wait: bool = True


class EndpointsRequest(_Body):
    """Where an upstream's hosts are; none at all is allowed and answers 503."""

    endpoints: Annotated[list[Annotated[str, Field(max_length=300)]], Field(max_length=1000)]


class Policies(Protocol):
    """What the control plane does with policies. Raises Refused where it does not."""

    async def policies(self) -> Sequence[Record]: ...

    async def policy(self, gateway: str) -> Record: ...

    async def forget(self, gateway: str) -> Record: ...

    async def diff(self, request: DiffRequest) -> Record: ...

    async def apply(self, request: ApplyRequest, author: str) -> Record: ...

    async def history(self, gateway: str | None, limit: int, before: int | None) -> Sequence[Record]: ...

    async def revision(self, revision: int) -> Record: ...

    async def rollout(self, revision: int) -> Record: ...

    async def roll_back(self, request: RollbackRequest, author: str) -> Record: ...


class Endpoints(Protocol):
    """Where the hosts of upstreams are while running. Raises Refused."""

    async def endpoints(self, gateway: str, upstream: str) -> Record: ...

    async def set_endpoints(self, gateway: str, upstream: str, endpoints: Sequence[str], author: str) -> Record: ...

    async def reset_endpoints(self, gateway: str, upstream: str) -> Record: ...


def policy_routes(policies: Policies) -> APIRouter:
    """Everything below `/v1/policies`."""
    router = APIRouter(prefix="/v1/policies")

    @router.get("")
    async def list_policies() -> list[Record]:
        """Each gateway's policy: what is live, and since when."""
        return list(await policies.policies())

    # Ahead of the gateways' names: no gateway can be called so and be asked for.
    @router.get("/history")
    async def history(
        gateway: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 20,
        before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    ) -> list[Record]:
        """What became live when, by whom and why, the newest first; `before` a revision, to read on."""
        return list(await policies.history(gateway, limit, before))

    @router.get("/revisions/{revision}")
    async def one_revision(revision: int) -> Record:
        """One entry of the history, with the text of its file."""
        return await policies.revision(revision)

    @router.get("/rollouts/{revision}")
    async def rollout(revision: int) -> Record:
        """How a change goes on: Envoy by Envoy until it is live, refused or taken back."""
        return await policies.rollout(revision)

    @router.get("/{gateway}")
    async def policy(gateway: str) -> Record:
        """One gateway's policy in force, with the text of its file."""
        return await policies.policy(gateway)

    @router.delete("/{gateway}")
    async def forget(gateway: str) -> Record:
        """Drop what is stored of a gateway that has no file any more."""
        return await policies.forget(gateway)

    @router.post("/diff")
    async def diff(wanted: DiffRequest) -> Record:
        """Read and check policies, and tell what would change. Mistakes are named by file and line."""
        return await policies.diff(wanted)

    @router.post("/apply", status_code=202)
    async def apply(wanted: ApplyRequest, request: Request) -> Record:
        """Make policies live, on all Envoys at once or on some first; `rollout` says how it goes on."""
        return await policies.apply(wanted, author_of(request))

    @router.post("/rollback", status_code=202)
    async def roll_back(wanted: RollbackRequest, request: Request) -> Record:
        """Make live again what was live before."""
        return await policies.roll_back(wanted, author_of(request))

    return router


def endpoint_routes(endpoints: Endpoints) -> APIRouter:
    """The hosts of an upstream while running."""
    router = APIRouter(prefix="/v1/gateways/{gateway}/upstreams/{upstream}/endpoints")

    @router.get("")
    async def show(gateway: str, upstream: str) -> Record:
        """Where an upstream's hosts are."""
        return await endpoints.endpoints(gateway, upstream)

    @router.put("")
    async def put(gateway: str, upstream: str, wanted: EndpointsRequest, request: Request) -> Record:
        """Say where an upstream's hosts are from now on, instead of what its policy says."""
        return await endpoints.set_endpoints(gateway, upstream, wanted.endpoints, author_of(request))

    @router.delete("")
    async def delete(gateway: str, upstream: str) -> Record:
        """Go back to the hosts that the policy names."""
        return await endpoints.reset_endpoints(gateway, upstream)

    return router


def author_of(request: Request) -> str:
    """Who says that they ask. A claim, not a proof: the token proves that they may."""
    author = request.headers.get(AUTHOR_HEADER, "").strip()
    if not _legible(author):
        raise Refused(422, "author_invalid", f"{AUTHOR_HEADER}: {_LEGIBLE}")
    return author or "unknown"


def reason_of(request: Request) -> str:
    """Why they ask; it may be empty."""
    reason = request.headers.get(REASON_HEADER, "").strip()
    if not _legible(reason):
        raise Refused(422, "reason_invalid", f"{REASON_HEADER}: {_LEGIBLE}")
    return reason


def _legible(text: str) -> bool:
    return len(text) <= _LONGEST_TEXT and text.isprintable()


def oversized(request: Request) -> Response | None:
    """The refusal of a body that is too long, or that does not say how long it is."""
    length = request.headers.get("content-length")
    if length is None:
        chunked = "transfer-encoding" in request.headers
        return problem(411, "length_required", "Send a Content-Length.") if chunked else None
    if not length.isdigit() or int(length) > MAX_BODY_BYTES:
        return problem(413, "body_too_large", f"A request has at most {MAX_BODY_BYTES} bytes.")
    return None
