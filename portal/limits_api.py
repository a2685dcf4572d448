"""Limits by the control API: which there are, and what is left of them. Asking charges nothing."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Protocol, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from policy.kinds import Tier

Record = Mapping[str, object]
_Name = Annotated[str, Field(min_length=1, max_length=255)]
_SUBJECTS: Final = ("subject", "tenant", "partner", "agent", "address")


class UsageQuestion(BaseModel):
    """Whose counters, and which: of all gateways and limits unless named. At most one of those who are counted.

    subject: of a token that states no tenant; of one that does, its tenant is counted, and not it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gateway: _Name | None = None
    limit: _Name | None = None
    tier: Tier | None = None
    subject: _Name | None = None
    tenant: _Name | None = None
    partner: _Name | None = None
    agent: _Name | None = None
    address: Annotated[str, Field(min_length=2, max_length=45)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        named = [name for name in _SUBJECTS if getattr(self, name) is not None]
        if len(named) > 1:
            raise ValueError(f"one of {', '.join(_SUBJECTS)}, not {' and '.join(named)}")
        return self


class Limits(Protocol):
    """Limits in force. Raises Refused."""

    async def limits(self, gateway: str | None) -> Sequence[Record]: ...

    async def usage(self, question: UsageQuestion) -> Record:
        """`usage`: a record for each counter; `unanswered`: gateways whose processes did not say, and why."""
        ...


def limit_routes(limits: Limits) -> APIRouter:
    """`/v1/limits` and `/v1/usage`."""
    router = APIRouter(prefix="/v1")

    @router.get("/limits")
    async def list_limits(gateway: Annotated[str | None, Query(max_length=255)] = None) -> list[Record]:
        """The limits in force, of one gateway or of all."""
        return list(await limits.limits(gateway))

    @router.get("/usage")
    async def usage(question: Annotated[UsageQuestion, Query()]) -> Record:
        """What is left to each counter. Asking charges nothing."""
        return await limits.usage(question)

    return router
