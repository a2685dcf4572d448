"""The first page: who one is, what ends soon, and what happened in the last day."""

from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, Request, Response

from portal.developer.browser import HOME, Doorkeeper, Refusal, Visit
from portal.developer.keys import OwnKeys, Shown, shown
from portal.developer.pages import page
from portal.developer.usage import OwnUsage, Period, Tally


def home_routes(door: Doorkeeper, keys: OwnKeys, usage: OwnUsage, clock: Callable[[], datetime]) -> APIRouter:
    """`/portal`: for whoever is signed in their overview, for everybody else what the portal is for."""
    router = APIRouter(include_in_schema=False)

    @router.get(HOME)
    async def home(request: Request) -> Response:
        visit = await door.visitor(request)
        if visit is None:
            return page("welcome.html", None, here=HOME)
        live = await _live(visit, keys, clock())
        soon = [one for one in live if one.mood == "warn" and one.may_rotate]
        total = await _day(visit, usage, clock())
        return page("home.html", visit, here=HOME, live=len(live), soon=soon, total=total)

    return router


async def _live(visit: Visit, keys: OwnKeys, now: datetime) -> list[Shown]:
    if visit.person.partner is None:
        return []
    return [one for key in await keys.list(visit) if (one := shown(key, now)).is_live]


async def _day(visit: Visit, usage: OwnUsage, now: datetime) -> Tally | None:
    """None while usage is away: the rest of the page needs none of it."""
    try:
        return (await usage.shown(visit, Period.DAY, now.timestamp())).total
    except Refusal:
        return None
