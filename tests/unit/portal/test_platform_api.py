"""The platform's health: the shape that was asked for, and components that were really asked."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import httpx2
import pytest
from fastapi import FastAPI

from portal.platform_api import Condition, HealthCheck, PartlyError, PlatformProbes, platform_router

NAMES = ("database", "redis", "gateways", "agents")
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def up() -> None:
    return None


async def down() -> None:
    raise ConnectionRefusedError


async def hangs() -> None:
    await asyncio.Event().wait()


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def check(
    database: Callable[[], Awaitable[None]] = up,
    redis: Callable[[], Awaitable[None]] = up,
    gateways: Callable[[], Awaitable[None]] = up,
    agents: Callable[[], Awaitable[None]] = up,
    clock: Callable[[], float] = lambda: 0.0,
) -> HealthCheck:
    probes = PlatformProbes(database, redis, gateways, agents)
    return HealthCheck(probes, limit_seconds=0.05, fresh_seconds=1.0, now=lambda: NOW, monotonic=clock)


def client(health: HealthCheck) -> httpx2.AsyncClient:
    application = FastAPI()
    application.include_router(platform_router(health))
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="http://platform")


@pytest.mark.requirement("R29")
async def test_health_has_a_status_a_time_and_the_components() -> None:
    async with client(check()) as platform:
        response = await platform.get("/api/platform/health")
    assert response.status_code == 200
    assert response.json() == {
        "status": "healthy",
        "timestamp": "2026-03-01T12:00:00Z",
        "components": {"database": "healthy", "redis": "healthy", "gateways": "healthy", "agents": "healthy"},
    }
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.requirement("R29")
@pytest.mark.parametrize("broken", NAMES)
@pytest.mark.parametrize("how", [down, hangs])
async def test_one_component_that_fails_or_hangs_degrades_the_platform(
    broken: str, how: Callable[[], Awaitable[None]]
) -> None:
    probes = PlatformProbes(**{name: how if name == broken else up for name in NAMES})
    health = await HealthCheck(probes, limit_seconds=0.05)()
    assert health.status is Condition.DEGRADED
    assert {name for name, one in health.components if one is Condition.DOWN} == {broken}


@pytest.mark.requirement("R29")
async def test_a_platform_without_any_component_is_down_and_says_so_with_503() -> None:
    async with client(check(down, hangs, down, down)) as platform:
        response = await platform.get("/api/platform/health")
    assert response.status_code == 503
    assert response.json()["status"] == "down"
    assert set(response.json()["components"].values()) == {"down"}


async def test_a_component_of_which_some_is_away_is_degraded_and_so_is_the_platform() -> None:
    async def partly() -> None:
        raise PartlyError

    health = await check(gateways=partly)()
    assert (health.status, health.components.gateways) == (Condition.DEGRADED, Condition.DEGRADED)
    # As long as something does some of its work, the platform is not down.
    assert (await check(down, down, partly, down)()).status is Condition.DEGRADED


async def test_however_many_ask_each_component_is_asked_once_a_second() -> None:
    asked = []

    async def counted() -> None:
        asked.append(1)
        await asyncio.sleep(0)

    clock = Clock()
    health = check(database=counted, clock=clock)
    await asyncio.gather(*(health() for _ in range(50)))
    assert len(asked) == 1
    clock.seconds = 0.99
    await health()
    assert len(asked) == 1
    clock.seconds = 1.0
    await health()
    assert len(asked) == 2


async def test_an_answer_follows_what_happens_to_a_component() -> None:
    clock, answers = Clock(), iter([up, down, up])

    async def changing() -> None:
        await next(answers)()

    health = check(redis=changing, clock=clock)
    seen = []
    for second in range(3):
        clock.seconds = float(second)
        seen.append((await health()).status)
    assert seen == [Condition.HEALTHY, Condition.DEGRADED, Condition.HEALTHY]


async def test_head_is_answered_and_the_reference_describes_get_alone() -> None:
    async with client(check()) as platform:
        assert (await platform.head("/api/platform/health")).status_code == 200
        described = (await platform.get("/openapi.json")).json()
    assert list(described["paths"]) == ["/api/platform/health"]
    assert list(described["paths"]["/api/platform/health"]) == ["get"]
    assert described["components"]["schemas"]["Condition"]["enum"] == ["healthy", "degraded", "down"]
