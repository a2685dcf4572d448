"""The platform's own API, behind the platform gateway: how healthy the parts are that everything else needs (R29)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from portal.patience import within

# Returns when the component does its work; raises, or does not return, when it does not.
Probe = Callable[[], Awaitable[None]]


class PartlyError(Exception):
    """Raised by a probe: some of what the component consists of does its work, and some does not."""


DATABASE: Final = "database"
REDIS: Final = "redis"
GATEWAYS: Final = "gateways"
AGENTS: Final = "agents"


class Condition(StrEnum):
    """`degraded`: something is down, and the rest serves."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    DOWN = "down"


class Components(BaseModel):
    """The parts that were asked."""

    model_config = ConfigDict(frozen=True)

    database: Condition
    redis: Annotated[Condition, Field(description="The store of counters and nonces.")]
    gateways: Annotated[Condition, Field(description="The services of the gateways; degraded when some are away.")]
    agents: Annotated[Condition, Field(description="Agents that take messages; degraded when some do not.")]


class PlatformHealth(BaseModel):
    """How healthy the platform was at `timestamp`."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[Condition, Field(description="down when every component is; degraded when some are.")]
    timestamp: Annotated[datetime, Field(description="When the components were asked, in UTC.")]
    components: Components


@dataclass(frozen=True, slots=True)
class PlatformProbes:
    """How each component is asked."""

    database: Probe
    redis: Probe
    gateways: Probe
    agents: Probe


class HealthCheck:
    """Asks the components, all at once and each within `limit_seconds` (portal.patience).

    The endpoint is public, so an answer serves everybody for `fresh_seconds`, and callers who come while it is being
    found wait for it together: however many ask, each component is asked once in that time.
    """

    def __init__(
        self,
        probes: PlatformProbes,
        *,
        limit_seconds: float = 2.0,
        fresh_seconds: float = 1.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probes = probes
        self._limit_seconds = limit_seconds
        self._fresh_seconds = fresh_seconds
        self._now = now
        self._monotonic = monotonic
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[float, PlatformHealth] | None = None

    async def __call__(self) -> PlatformHealth:
        async with self._one_at_a_time:
            if self._last is None or self._monotonic() - self._last[0] >= self._fresh_seconds:
                health = await self._ask()
                self._last = (self._monotonic(), health)
            return self._last[1]

    async def _ask(self) -> PlatformHealth:
        names: Mapping[str, Probe] = {
            DATABASE: self._probes.database,
            REDIS: self._probes.redis,
            GATEWAYS: self._probes.gateways,
            AGENTS: self._probes.agents,
        }
        asked_at = self._now()
        found = await asyncio.gather(*(self._condition(probe) for probe in names.values()))
        return PlatformHealth(
            status=_overall(found),
            timestamp=asked_at,
            components=Components(**dict(zip(names, found, strict=True))),
        )

    async def _condition(self, probe: Probe) -> Condition:
        try:
            await within(self._limit_seconds, probe)
        except PartlyError:
            return Condition.DEGRADED
        except Exception:  # noqa: BLE001 - whatever a driver raises, the component does not do its work
            return Condition.DOWN
        return Condition.HEALTHY


def _overall(found: list[Condition]) -> Condition:
    if all(one is Condition.HEALTHY for one in found):
        return Condition.HEALTHY
    return Condition.DOWN if all(one is Condition.DOWN for one in found) else Condition.DEGRADED


def platform_router(health: HealthCheck) -> APIRouter:
    """The routes of the platform API, with full paths: no gateway strips a prefix (R16)."""
    router = APIRouter(prefix="/api/platform", tags=["platform"])

    @router.head("/health", include_in_schema=False)
    @router.get(
        "/health",
        summary="How healthy the platform is",
        response_model=PlatformHealth,
        responses={503: {"model": PlatformHealth, "description": "Every component is down."}},
    )
    async def platform_health(response: Response) -> PlatformHealth:
        """Asks the database, the store, the gateways and the agents, and says which of them do their work.

        Public, and limited per client address. An answer is at most a second old.
        """
        found = await health()
        response.headers["cache-control"] = "no-store"
        if found.status is Condition.DOWN:
            response.status_code = 503
        return found

    return router
