"""What the visitor's keys and tokens were used for: requests, errors and how long they took (R117)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, Protocol

from fastapi import APIRouter, Request, Response

from portal.developer.browser import Doorkeeper, Refusal, Visit
from portal.developer.chart import Chart, Column, chart
from portal.developer.keys import OwnKeys
from portal.developer.pages import page
from records.api_keys import ApiKey
from telemetry.access_log.histogram import quantile

USAGE: Final = "/portal/usage"
_HOUR: Final = 3_600
_DAY: Final = 86_400
# Width, height, and the most words below, for a wide screen and for a telephone.
_SIZES: Final = (("wide", 1040.0, 240.0, 12), ("small", 350.0, 200.0, 5))


class Period(Enum):
    """How far back, and the length of a column, in seconds."""

    DAY = ("day", "24 hours", _HOUR, 24)
    WEEK = ("week", "7 days", _DAY // 4, 28)
    MONTH = ("month", "30 days", _DAY, 30)

    @property
    def key(self) -> str:
        return self.value[0]

    @property
    def words(self) -> str:
        return self.value[1]

    @property
    def step(self) -> int:
        return self.value[2]

    def starts(self, now: float) -> tuple[int, ...]:
        """Where the columns begin, in seconds since the epoch; the last one has begun and is not over."""
        last = int(now) - int(now) % self.step
        return tuple(last - self.step * before for before in range(self.value[3] - 1, -1, -1))

    @classmethod
    def named(cls, key: str) -> "Period":
        return next((one for one in cls if one.key == key), cls.DAY)


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests by how they ended. `client`: 4xx; `server`: 5xx, or no answer. Durations in milliseconds."""

    good: int = 0
    client: int = 0
    server: int = 0
    p50: float | None = None
    p95: float | None = None

    @classmethod
    def of(cls, by_status: Iterable[tuple[int, int]], took: Mapping[int, int]) -> "Tally":
        """From requests by their status, and the histogram of their durations."""
        good = client = server = 0
        for status, count in by_status:
            if 400 <= status < 500:
                client += count
            elif status >= 500 or status == 0:
                server += count
            else:
                good += count
        return cls(good, client, server, quantile(took, 0.5), quantile(took, 0.95))

    @property
    def requests(self) -> int:
        return self.good + self.client + self.server

    @property
    def error_share(self) -> float:
        """From 0 to 1."""
        return (self.client + self.server) / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class UsageShown:
    """`columns` by where they begin; `endpoints` by gateway and route; `callers` by words; `keys` by their ids."""

    total: Tally
    columns: dict[int, Tally]
    endpoints: Sequence[tuple[str, str, Tally]]
    callers: Sequence[tuple[str, Tally]]
    keys: Sequence[tuple[str, Tally]] = ()


class OwnUsage(Protocol):
    """What became of a visitor's requests."""

    async def shown(self, visit: Visit, period: Period, now: float) -> UsageShown: ...


def usage_routes(
    door: Doorkeeper, usage: OwnUsage, clock: Callable[[], datetime], keys: OwnKeys | None = None
) -> APIRouter:
    """`/portal/usage`. `keys`: to tell what their owner calls them."""
    router = APIRouter(include_in_schema=False)

    @router.get(USAGE)
    async def show(request: Request, period: str = "") -> Response:
        visit = await door.visit(request)
        chosen, now = Period.named(period), clock().timestamp()
        shown = await usage.shown(visit, chosen, now)
        rows = [(_at(start), shown.columns.get(start, Tally())) for start in chosen.starts(now)]
        requests = [
            (name, chart(_requests(rows, chosen), width=w, height=h, most_labels=n)) for name, w, h, n in _SIZES
        ]
        durations = [
            (name, chart(_durations(rows, chosen), width=w, height=h, most_labels=n)) for name, w, h, n in _SIZES
        ]
        return page(
            "usage.html",
            visit,
            here=USAGE,
            shown=shown,
            known=await _known(keys, visit) if keys and shown.keys else {},
            period=chosen,
            periods=tuple(Period),
            rows=rows,
            requests=requests,
            durations=durations,
        )

    return router


async def _known(keys: OwnKeys, visit: Visit) -> Mapping[str, ApiKey]:
    try:
        return {one.key_id: one for one in await keys.list(visit)}
    except Refusal:
        # What keys did is known without their names.
        return {}


Charts = Sequence[tuple[str, Chart]]
_Rows = Sequence[tuple[datetime, Tally]]


def _at(start: int) -> datetime:
    return datetime.fromtimestamp(start, UTC)


def _label(at: datetime, period: Period) -> str:
    return at.strftime("%H:%M") if period is Period.DAY else at.strftime("%d %b")


def _requests(rows: _Rows, period: Period) -> list[Column]:
    return [
        Column(
            _label(at, period),
            (
                ("ok", float(one.good), _said(at, one.good, "good")),
                ("client", float(one.client), _said(at, one.client, "refused or mistaken (4xx)")),
                ("server", float(one.server), _said(at, one.server, "failed (5xx)")),
            ),
        )
        for at, one in rows
    ]


def _durations(rows: _Rows, period: Period) -> list[Column]:
    return [
        Column(_label(at, period), value=one.p95, words="" if one.p95 is None else f"{_when(at)}: {one.p95:.0f} ms")
        for at, one in rows
    ]


def _said(at: datetime, count: int, words: str) -> str:
    return f"{_when(at)}: {count} {words}"


def _when(at: datetime) -> str:
    return at.strftime("%d %b, %H:%M UTC")
