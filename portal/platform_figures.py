"""`/api/platform/metrics`: what the last minute was like, measured from what Envoys told of requests (R30)."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from messaging.bus import BusAwayError
from portal.problems import Refused
from records.errors import LOST_DATABASE
from records.request_figures import RequestFigures

WINDOW_SECONDS: Final = 60
# Every request from outside comes through it, once.
_EDGE: Final = "central"
_FRESH_SECONDS: Final = 1.0

# How many agents take messages; raises BusAwayError. None: there is no bus that this process could ask.
Agents = Callable[[], Awaitable[int]] | None


class PlatformFigures(BaseModel):
    """Of the last 60 seconds at the edge. Null is what nothing is known of: there was no request, or nobody told."""

    model_config = ConfigDict(frozen=True)

    requests_per_minute: Annotated[int | None, Field(description="Requests from outside.")]
    active_agents: Annotated[int | None, Field(description="Agents that have asked for messages lately.")]
    error_rate: Annotated[
        float | None, Field(description="Share of them that the federation failed: 5xx, or no answer; 0 to 1.")
    ]
    p95_latency: Annotated[float | None, Field(description="95 of 100 took at most so long, in milliseconds.")]
    window_seconds: int
    measured_at: datetime
    newest_request: Annotated[datetime | None, Field(description="When the last request came that is in the figures.")]


class FiguresOfNow:
    """Figures that serve everybody for a second: however many ask, they are counted once in that time."""

    def __init__(
        self,
        requests: RequestFigures,
        agents: Agents,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` in seconds since the epoch."""
        self._requests, self._agents, self._now, self._monotonic = requests, agents, now, monotonic
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[float, PlatformFigures] | None = None

    async def __call__(self) -> PlatformFigures:
        """Raises one of records.errors.LOST_DATABASE."""
        async with self._one_at_a_time:
            if self._last is None or self._monotonic() - self._last[0] >= _FRESH_SECONDS:
                figures = await self._measure()
                self._last = (self._monotonic(), figures)
            return self._last[1]

    async def _measure(self) -> PlatformFigures:
        now = self._now()
        recent = await self._requests.between(_EDGE, now - WINDOW_SECONDS, now)
        some = recent.requests > 0
        return PlatformFigures(
            # Whoever asks is a request, too: none at all is not quiet, but untold.
            requests_per_minute=recent.requests if some else None,
            active_agents=await self._active(),
            error_rate=recent.failed / recent.requests if some else None,
            p95_latency=recent.p95,
            window_seconds=WINDOW_SECONDS,
            measured_at=datetime.fromtimestamp(now, UTC),
            newest_request=None if recent.newest is None else datetime.fromtimestamp(recent.newest, UTC),
        )

    async def _active(self) -> int | None:
        if self._agents is None:
            return None
        try:
            return await self._agents()
        except BusAwayError:
            return None


def figures_routes(figures: Callable[[], Awaitable[PlatformFigures]]) -> APIRouter:
    """The route, with its full path: no gateway strips a prefix (R16)."""
    router = APIRouter(prefix="/api/platform", tags=["platform"])

    @router.get("/metrics", summary="What the last minute was like", response_model=PlatformFigures)
    async def metrics(response: Response) -> PlatformFigures:
        """Measured from Envoy's access log, which is a few seconds behind; null where there is nothing to measure."""
        response.headers["cache-control"] = "no-store"
        try:
            return await figures()
        except LOST_DATABASE:
            raise Refused(503, "figures_unavailable", "The log of requests cannot be read at the moment.") from None

    return router
