"""The console over a control API of the test's own, and people who are signed in there."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.responses import Response

from apibank.sre.control import ControlApi
from portal.developer.browser import SESSION_COOKIE, Doorkeeper, Refusal
from portal.developer.pages import page
from portal.developer.person import Person
from portal.developer.usage import Tally
from portal.sre.console import Console, console_routes
from portal.sre.editor import policy_pages
from portal.sre.explain import explain_pages
from portal.sre.past import past_pages
from portal.sre.traces import TraceFilters, trace_pages
from portal.sre.traffic import traffic_pages
from portal.traffic import By, Cost, Line
from tests.support.issuer_client import BASE
from tests.unit.portal.sre.world import TOKEN, ControlPlane

PEOPLE = {
    "admin": Person("admin_1", "Asha", "admin", "internal", ("platform:*",)),
    "customer": Person("user_1", "Bina", "customer", "business", ("marketing:*",)),
}


class Held:
    """Sessions whose cookies say who has them."""

    async def open(self, person: Person) -> str:
        return person.role

    async def find(self, held: str) -> Person | None:
        return PEOPLE.get(held)

    async def close(self, _: str) -> None: ...


class Routes:
    """What the routes were sent."""

    def __init__(self) -> None:
        self.found: list[tuple[str, Tally]] = []
        self.cut: dict[By, list[Line]] = {}
        self.costs = Cost((), 0, 100_000, 10_000)
        self.asked: list[tuple[int, int, str | None]] = []

    async def of(self, _: str, __: float) -> list[tuple[str, Tally]]:
        return self.found

    async def whole(self, since: int, until: int, gateway: str | None = None) -> Line:
        self.asked.append((since, until, gateway))
        return Line("", Tally(1, 2, 3, 4.0, 5.0), 6.0)

    async def lines(self, by: By, since: int, until: int, *, gateway: str | None = None, most: int = 50) -> list[Line]:
        return [Line(f"{hour:02}:00", Tally()) for hour in range(24)] if by is By.HOUR else self.cut.get(by, [])[:most]

    async def cost(self, since: int, until: int) -> Cost:
        return self.costs


@pytest.fixture
def plane() -> ControlPlane:
    return ControlPlane()


class Traced:
    """What was told of traced requests."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []
        self.asked: list[TraceFilters] = []

    async def find(self, filters: TraceFilters, count: int) -> list[dict[str, object]]:
        self.asked.append(filters)
        return self.rows[:count]

    async def spans(self, trace_id: str) -> list[dict[str, object]]:
        return [row for row in self.rows if row["trace_id"] == trace_id]


@pytest.fixture
def routes() -> Routes:
    return Routes()


@pytest.fixture
def traced() -> Traced:
    return Traced()


Visit = Callable[[str], httpx2.AsyncClient]


@pytest.fixture
async def visit(plane: ControlPlane, routes: Routes, traced: Traced) -> AsyncIterator[Visit]:
    """Browsers, by who is signed in; nobody by an empty word."""
    control = ControlApi("http://control", lambda: TOKEN, httpx2.AsyncClient(transport=httpx2.MockTransport(plane)))
    door = Doorkeeper(Held(), (BASE,))
    app = FastAPI(openapi_url=None)
    app.include_router(console_routes(door, Console(control, routes, lambda: datetime.now(UTC))))
    app.include_router(policy_pages(door, control))
    app.include_router(trace_pages(door, traced))
    app.include_router(past_pages(door, control))
    app.include_router(explain_pages(door, control))
    app.include_router(traffic_pages(door, routes, lambda: datetime.now(UTC)))

    @app.exception_handler(Refusal)
    async def refused(_: object, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return page("refusal.html", None, status=error.status, title=error.title, text=error.text)

    opened: list[httpx2.AsyncClient] = []

    def browser(who: str) -> httpx2.AsyncClient:
        cookies = {SESSION_COOKIE: who} if who else {}
        opened.append(httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url=BASE, cookies=cookies))
        return opened[-1]

    yield browser
    for one in opened:
        await one.aclose()
    await control.close()
