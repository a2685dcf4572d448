"""Parents' consents by the control API: granted, listed, revoked."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from portal.change_record import changed

Record = Mapping[str, object]
_Subject = Annotated[str, Field(min_length=1, max_length=255)]


class NewConsent(BaseModel):
    """A parent's consent to record. `child` and `parent` are subjects of tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    child: _Subject
    parent: _Subject
    method: Annotated[str, Field(min_length=1, max_length=32)]
    purposes: Annotated[list[Annotated[str, Field(min_length=1, max_length=63)]], Field(min_length=1, max_length=20)]
    expires_in_days: Annotated[int, Field(ge=1, le=732)] = 365


class Consents(Protocol):
    """Consents. Each change returns when it is in force on every gateway that asks for ages; raises Refused."""

    async def grant(self, new: NewConsent) -> Record: ...

    async def list(self, child: str | None, parent: str | None) -> Sequence[Record]: ...

    async def revoke(self, consent_id: str) -> Record: ...


def consent_routes(consents: Consents) -> APIRouter:
    """Everything below `/v1/consents`."""
    router = APIRouter(prefix="/v1/consents")

    @router.post("", status_code=201)
    async def grant(new: NewConsent, request: Request) -> Record:
        """Record a parent's consent."""
        granted = await consents.grant(new)
        changed(request, granted["id"])
        return granted

    @router.get("")
    async def list_consents(
        child: Annotated[str | None, Query(max_length=255)] = None,
        parent: Annotated[str | None, Query(max_length=255)] = None,
    ) -> list[Record]:
        """Consents, of a child or of a parent."""
        return list(await consents.list(child, parent))

    @router.post("/{consent_id}/revoke")
    async def revoke(consent_id: str) -> Record:
        """Take a consent back."""
        return await consents.revoke(consent_id)

    return router
