"""A request explained by the control API: which way it takes, and what every check says of it. Nothing is sent."""

import base64
from collections.abc import Mapping
from typing import Annotated, Protocol

from fastapi import APIRouter
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyAddress,
    SecretStr,
    StringConstraints,
    field_validator,
)

Record = Mapping[str, object]


def _decoded(text: object) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except ValueError:
        pass
    raise ValueError("not base64")


_Base64 = Annotated[bytes, BeforeValidator(_decoded)]
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$")]


class ExplainRequest(BaseModel):
    """A request to explain. `headers` may hold credentials, which no answer and no log repeats; `body` in base64.

    Without `headers`, `body` and `address` only its way is told; with any of them, also what each check says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Annotated[str, Field(pattern=r"^[A-Z]{1,32}$")]
    path: Annotated[str, Field(pattern=r"^/", max_length=16_384)]
    gateway: Annotated[str, Field(max_length=63)] | None = None
    listener: Annotated[str, Field(max_length=63)] | None = None
    headers: Annotated[Mapping[_HeaderName, SecretStr], Field(max_length=100)] | None = None
    body: _Base64 | None = None
    address: IPvAnyAddress | None = None

    @field_validator("headers")
    @classmethod
    def _once_each(cls, headers: Mapping[str, SecretStr] | None) -> Mapping[str, SecretStr] | None:
        if headers is not None and len({name.lower() for name in headers}) < len(headers):
            raise ValueError("a header is there twice, in other letters: write several values as one")
        return headers

    @property
    def checks(self) -> bool:
        return not (self.headers is None and self.body is None and self.address is None)


class Explanations(Protocol):
    """Whoever knows the policies in force and what they look up."""

    async def explain(self, request: ExplainRequest) -> Record:
        """The request's way and the checks' verdicts. Raises Refused."""
        ...


def explain_routes(explanations: Explanations) -> APIRouter:
    """`POST /v1/explain`."""
    router = APIRouter(prefix="/v1")

    @router.post("/explain")
    async def explain(request: ExplainRequest) -> Record:
        """Which way a request takes, and what every check says of it. Nothing is sent, counted or audited."""
        return await explanations.explain(request)

    return router
