"""/portal/sre/traffic: what the federation was sent, cut in every way, when, and what it costs (R17-R21, R85)."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter, Request, Response

from portal.developer.browser import Doorkeeper
from portal.developer.chart import Chart, Column, chart
from portal.developer.pages import page
from portal.developer.usage import Period
from portal.sre.console import SRE, Guard, named
from portal.traffic import By, Line, TrafficFigures

TRAFFIC: Final = f"{SRE}/traffic"
_MOST: Final = 20
_CUTS: Final = (
    (By.GATEWAY, "By gateway"), (By.ROUTE, "By route"), (By.CALLER, "By caller"), (By.TENANT, "By tenant"),
    (By.TIER, "By tier"), (By.STATUS, "By status"),
)  # fmt: skip
_NOBODY: Final = {By.CALLER: "nobody known", By.TENANT: "no tenant", By.TIER: "no tier", By.STATUS: "no answer"}
_SIZES: Final = (("wide", 1040.0, 220.0, 24), ("small", 350.0, 180.0, 6))


def traffic_pages(door: Doorkeeper, figures: TrafficFigures, clock: Callable[[], datetime]) -> APIRouter:
    """`/portal/sre/traffic`."""
    router = APIRouter(include_in_schema=False)
    guard = Guard(door)

    @router.get(TRAFFIC)
    async def show(request: Request, period: str = "", gateway: str = "") -> Response:
        visit = await guard.admit(request)
        wanted = named(gateway) if gateway else None
        chosen, now = Period.named(period), clock().astimezone(UTC).timestamp()
        since, until = chosen.starts(now)[0], int(now) + 1
        cuts = [
            (by, words, [(named_line(by, one), one) for one in await _cut(figures, by, since, until, wanted)])
            for by, words in _CUTS
            if wanted is None or by is not By.GATEWAY
        ]
        hours = await figures.lines(By.HOUR, since, until, gateway=wanted)
        return page(
            "sre/traffic.html",
            visit,
            here=SRE,
            periods=tuple(Period),
            period=chosen,
            gateway=wanted,
            whole=await figures.whole(since, until, wanted),
            cuts=cuts,
            most=_MOST,
            hours=_charts(hours),
            cost=await figures.cost(since, until),
        )

    return router


def named_line(by: By, line: Line) -> str:
    """What a line is called: nobody has an empty name, and a request without an answer the status 0."""
    return _NOBODY.get(by, "none") if line.name in {"", "0"} else line.name.removesuffix(" / ")


async def _cut(figures: TrafficFigures, by: By, since: int, until: int, gateway: str | None) -> Sequence[Line]:
    return await figures.lines(by, since, until, gateway=gateway, most=_MOST)


def _charts(hours: Sequence[Line]) -> Sequence[tuple[str, Chart]]:
    columns = [Column(one.name, _parts(one)) for one in hours]
    return [(name, chart(columns, width=w, height=h, most_labels=most)) for name, w, h, most in _SIZES]


def _parts(line: Line) -> tuple[tuple[str, float, str], ...]:
    tally = line.tally
    return (
        ("ok", float(tally.good), f"{line.name} UTC: {tally.good} good"),
        ("client", float(tally.client), f"{line.name} UTC: {tally.client} refused or mistaken (4xx)"),
        ("server", float(tally.server), f"{line.name} UTC: {tally.server} failed (5xx)"),
    )
