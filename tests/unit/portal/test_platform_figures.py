"""The platform's figures: of real requests, null where nothing is known, and counted once a second."""

import httpx2
import pytest
from fastapi import FastAPI

from messaging.bus import BusAwayError
from portal.platform_figures import Agents, FiguresOfNow, figures_routes
from portal.refusals import refusals_are_problems
from records.request_figures import RecentFigures, RequestFigures

NOW = 1_800_000_000.0


class Log(RequestFigures):
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, found: RecentFigures | None) -> None:
        self.found, self.asked = found, list[tuple[str, float, float]]()

    async def between(self, gateway: str, since: float, until: float) -> RecentFigures:
        self.asked.append((gateway, since, until))
        if self.found is None:
            raise TimeoutError
        return self.found


async def three() -> int:
    return 3


async def away() -> int:
    raise BusAwayError("gone")


async def ask(log: Log, agents: Agents = three, times: int = 1) -> httpx2.Response:
    application = FastAPI()
    figures = FiguresOfNow(log, agents, now=lambda: NOW, monotonic=lambda: 0.0)
    application.include_router(figures_routes(figures))
    refusals_are_problems(application)
    transport = httpx2.ASGITransport(application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://platform") as client:
        for _ in range(times):
            answer = await client.get("/api/platform/metrics", headers={"x-request-id": "r-1"})
    return answer


@pytest.mark.requirement("R30")
async def test_figures_are_of_the_last_sixty_seconds_at_the_edge() -> None:
    log = Log(RecentFigures(200, 3, 41.5, NOW - 2))
    answer = await ask(log, times=3)
    assert answer.json() == {
        "requests_per_minute": 200,
        "active_agents": 3,
        "error_rate": 0.015,
        "p95_latency": 41.5,
        "window_seconds": 60,
        "measured_at": "2027-01-15T08:00:00Z",
        "newest_request": "2027-01-15T07:59:58Z",
    }
    assert answer.headers["cache-control"] == "no-store"
    assert log.asked == [("central", NOW - 60, NOW)]


async def test_where_nobody_has_told_of_a_request_nothing_is_known_and_nothing_is_made_up() -> None:
    found = (await ask(Log(RecentFigures(0, 0, None, None)))).json()
    assert {found[name] for name in ("requests_per_minute", "error_rate", "p95_latency", "newest_request")} == {None}
    assert found["active_agents"] == 3


@pytest.mark.parametrize("agents", [away, None])
async def test_agents_that_cannot_be_asked_for_are_not_counted_as_none(agents: Agents) -> None:
    found = (await ask(Log(RecentFigures(1, 0, 1.0, NOW)), agents)).json()
    assert (found["active_agents"], found["requests_per_minute"]) == (None, 1)


async def test_a_log_that_cannot_be_read_is_a_refusal() -> None:
    answer = await ask(Log(None))
    assert (answer.status_code, answer.json()["code"]) == (503, "figures_unavailable")
    assert (answer.headers["retry-after"], answer.json()["request_id"]) == ("1", "r-1")
