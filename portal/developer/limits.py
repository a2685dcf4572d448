"""Limits as they are enforced at this moment, and what is left of them to whoever visits (R120)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Protocol

from fastapi import APIRouter, Request, Response

from policy.model import Gateway
from portal.developer.browser import Doorkeeper, Visit
from portal.developer.pages import page
from portal.developer.person import Person

LIMITS: Final = "/portal/limits"
# Less than this share is little.
_LOW: Final = 0.2
CENTRAL: Final = "central"


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to one counter of the visitor's. `figure` and `remaining` None: no bound.

    `full`: what is left where nothing is used, which a limit that counts evenly lends ahead. `seconds`: until a
    request passes where none would now, else until nothing is used any more.
    """

    whose: str
    figure: int | None
    remaining: int | None
    full: int | None
    passes: bool
    seconds: float

    @property
    def share(self) -> float:
        """From 0 to 1."""
        if self.full is None or self.remaining is None:
            return 1.0
        return min(self.remaining / self.full, 1.0) if self.full else 0.0

    @property
    def mood(self) -> str:
        return "none" if not self.passes else "low" if self.share < _LOW else "left"


@dataclass(frozen=True, slots=True)
class LimitShown:
    """One limit of a gateway. `figure`: the visitor's, None without a bound. `per`: caller, address or gateway."""

    gateway: str
    name: str
    description: str
    per: str
    figure: int | None
    unit: str
    at_once: int | None
    shadow: bool
    routes: tuple[str, ...]
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class LimitsShown:
    """`unanswered`: gateways that did not say in time what is left there."""

    limits: Sequence[LimitShown]
    unanswered: Sequence[str]


class OwnLimits(Protocol):
    """What limits mean for a visitor."""

    async def shown(self, visit: Visit) -> LimitsShown: ...


def concerned(gateways: Mapping[str, Gateway], person: Person) -> tuple[str, ...]:
    """The gateways that a person's requests meet: the edge, and those of which some route is open to the person."""
    return tuple(name for name, one in gateways.items() if name == CENTRAL or _opens(one, person))


def _opens(gateway: Gateway, person: Person) -> bool:
    spaces = {gateway.scopes_of(route) for route in gateway.routes.values()}
    return any(person.may(one, action) for one in spaces if one is not None for action in ("read", "write"))


def limit_routes(door: Doorkeeper, limits: OwnLimits) -> APIRouter:
    """`/portal/limits`."""
    router = APIRouter(include_in_schema=False)

    @router.get(LIMITS)
    async def table(request: Request) -> Response:
        visit = await door.visit(request)
        shown = await limits.shown(visit)
        ordered = sorted(shown.limits, key=lambda one: (one.gateway != CENTRAL, one.gateway))
        groups = [(name, list(some)) for name, some in groupby(ordered, lambda one: one.gateway)]
        return page("limits.html", visit, here=LIMITS, groups=groups, unanswered=shown.unanswered)

    return router
