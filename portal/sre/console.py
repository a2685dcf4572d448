"""The console at /portal/sre: the federation with what is broken first, and one gateway of it.

For administrators alone. To everybody else there is no such page, signed in or not.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from fastapi import APIRouter, Request, Response

from portal.developer.browser import Doorkeeper, Refusal, Visit
from portal.developer.pages import page
from portal.developer.usage import Tally
from portal.sre.federation import Control, SaidNoError
from portal.sre.picture import in_words, pictures
from portal.traffic import TrafficFigures

SRE: Final = "/portal/sre"
ADMIN: Final = "admin"
_GATEWAY: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_ORDER: Final = {"bad": 0, "warn": 1, "good": 2}
_MOST_SHOWN: Final = 100


class RouteTraffic(TrafficFigures, Protocol):
    """All that the federation was sent."""

    async def of(self, gateway: str, now: float) -> Sequence[tuple[str, Tally]]:
        """What the routes of a gateway were sent in the last hour, the one with the most failures first."""
        ...


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages ask."""

    control: Control
    traffic: RouteTraffic
    clock: Callable[[], datetime]


class Guard:
    """Lets administrators in."""

    def __init__(self, door: Doorkeeper) -> None:
        self.door = door

    async def admit(self, request: Request) -> Visit:
        """Who asks. Raises Refusal as for a page that is not there."""
        visit = await self.door.visitor(request)
        if visit is None or visit.person.role != ADMIN:
            raise nothing_here()
        return visit


def nothing_here() -> Refusal:
    """The same as for every address without a page."""
    return Refusal(404, "There is no such page", "It may have moved, or its address may be mistyped.")


def named(gateway: str) -> str:
    """A gateway's name, fit for an address. Raises Refusal."""
    if not _GATEWAY.fullmatch(gateway):
        raise nothing_here()
    return gateway


def away(error: SaidNoError) -> Refusal:
    """The control API's no as a page."""
    if error.status == 404:
        return nothing_here()
    return Refusal(error.status, "The control plane says no", error.detail)


def console_routes(door: Doorkeeper, console: Console) -> APIRouter:
    """`/portal/sre` and `/portal/sre/gateways/NAME`."""
    router = APIRouter(include_in_schema=False)
    guard = Guard(door)

    @router.get(SRE)
    async def overview(request: Request) -> Response:
        visit = await guard.admit(request)
        try:
            found = await console.control.gateways()
        except SaidNoError as error:
            raise away(error) from None
        ordered = sorted(found, key=lambda one: (_ORDER[one.mood], one.gateway))
        drawn, words = pictures(found), in_words(found)
        return page("sre/overview.html", visit, here=SRE, gateways=ordered, pictures=drawn, words=words)

    @router.get(SRE + "/gateways/{name}")
    async def gateway(name: str, request: Request) -> Response:
        visit = await guard.admit(request)
        wanted = named(name)
        try:
            found = next((one for one in await console.control.gateways() if one.gateway == wanted), None)
            if found is None:
                raise nothing_here()
            resources = [one for one in await console.control.resources() if one.gateway == wanted]
        except SaidNoError as error:
            raise away(error) from None
        nodes = sorted({one.node for one in resources})
        wrong = [one for one in resources if one.status != "SYNCED"]
        wrong.sort(key=lambda one: (one.status != "REJECTED", one.node, one.name))
        routes = await console.traffic.of(wanted, console.clock().timestamp())
        return page(
            "sre/gateway.html",
            visit,
            here=SRE,
            gateway=found,
            nodes=[(node, sum(one.node == node for one in resources)) for node in nodes],
            wrong=wrong[:_MOST_SHOWN],
            more=max(len(wrong) - _MOST_SHOWN, 0),
            routes=routes,
        )

    return router
