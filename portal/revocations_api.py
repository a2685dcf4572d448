"""Revoked tokens by the control API: one by its `jti`, or a subject's tokens up to an issue time."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from portal.change_record import changed

Record = Mapping[str, object]


class NewRevocation(BaseModel):
    """Tokens to refuse: `jti`, or `subject`. `issuer` is an `iss`, or the name that policies have for it.

    `issued_until`: a subject's tokens that were issued later are accepted; unset: now. `until`: when the entry may be
    forgotten; unset: when no token that it covers can be accepted for its age.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    jti: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    subject: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    issued_until: AwareDatetime | None = None
    until: AwareDatetime | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _one_kind(self) -> "NewRevocation":
        if (self.jti is None) == (self.subject is None):
            raise ValueError("exactly one of jti and subject")
        if self.issued_until is not None and self.subject is None:
            raise ValueError("issued_until belongs to a subject")
        return self


class Revocations(Protocol):
    """Revoked tokens. Each change returns when it is in force on every gateway; raises Refused.

    A change's record says under `in_force_on` which processes decide by it, and under `silent` which were heard of
    lately, but not now: one that is cut off from the database goes on with the list that it has.
    """

    async def revoke(self, new: NewRevocation) -> Record: ...

    async def list(self) -> Sequence[Record]: ...

    async def restore(self, revocation_id: str) -> Record: ...


def revocation_routes(revocations: Revocations) -> APIRouter:
    """Everything below `/v1/revocations`."""
    router = APIRouter(prefix="/v1/revocations")

    @router.post("", status_code=201)
    async def revoke(new: NewRevocation, request: Request) -> Record:
        """Refuse a token, or a subject's tokens up to a moment, from now on."""
        revoked = await revocations.revoke(new)
        changed(request, revoked["id"])
        return revoked

    @router.get("")
    async def list_revocations() -> list[Record]:
        """What is refused."""
        return list(await revocations.list())

    @router.delete("/{revocation_id}")
    async def restore(revocation_id: str) -> Record:
        """Take a revocation back."""
        return await revocations.restore(revocation_id)

    return router
