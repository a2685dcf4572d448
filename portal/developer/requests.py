"""The visitor's single requests, as the gateways tell of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portal.developer.browser import Doorkeeper, Refusal, Visit
from portal.developer.pages import page

REQUESTS: Final = "/portal/requests"
PAGE: Final = 50
EDGE: Final = "central"


class Filters(BaseModel):
    """Which requests: of a gateway, of a status or a class of them, of a name, by an API key; from a row on."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    status: str = Field("", pattern=r"^(|[2345]|[1-5][0-9]{2})$")
    request_id: str = Field("", max_length=128)
    gateway: str = Field("", max_length=128)
    key: str = Field("", max_length=64)
    before: str = Field("", pattern=r"^[0-9]{0,18}$")

    @property
    def wanted_gateway(self) -> str | None:
        """Every request is seen at the edge; of one request all of its hops are shown."""
        return self.gateway or (None if self.request_id else EDGE)


@dataclass(frozen=True, slots=True)
class Logged:
    """One request. `row`: to page on. `milliseconds` None where nothing came of it."""

    row: int
    at: datetime
    gateway: str
    method: str
    path: str
    status: int
    milliseconds: float | None
    request_id: str
    whose: str
    key: str
    address: str
    details: str

    @property
    def mood(self) -> str:
        return "good" if 200 <= self.status < 400 else "warn" if 400 <= self.status < 500 else "bad"


class OwnRequests(Protocol):
    """A visitor's requests, the newest first."""

    async def find(self, visit: Visit, filters: Filters, count: int) -> Sequence[Logged]: ...

    def gateways(self, visit: Visit) -> Sequence[str]:
        """Those that a visitor's requests meet."""
        ...


def request_routes(door: Doorkeeper, log: OwnRequests) -> APIRouter:
    """`/portal/requests`."""
    router = APIRouter(include_in_schema=False)

    @router.get(REQUESTS)
    async def show(request: Request) -> Response:
        visit = await door.visit(request)
        try:
            filters = Filters.model_validate({name: value.strip() for name, value in request.query_params.items()})
        except ValidationError:
            text = "A status is 2, 3, 4 or 5, or three digits; a request id has at most 128 characters."
            raise Refusal(400, "There is no such filter", text) from None
        found = list(await log.find(visit, filters, PAGE + 1))
        older = None
        if len(found) > PAGE:
            found = found[:PAGE]
            asked = filters.model_dump(exclude={"before"}) | {"before": str(found[-1].row)}
            older = f"{REQUESTS}?{urlencode({name: value for name, value in asked.items() if value})}"
        is_filtered = bool(filters.status or filters.request_id or filters.gateway or filters.key or filters.before)
        return page(
            "requests.html",
            visit,
            here=REQUESTS,
            found=found,
            filters=filters,
            gateways=log.gateways(visit),
            older=older,
            is_filtered=is_filtered,
        )

    return router
