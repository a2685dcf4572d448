"""What the federation was sent, as the tables of usage have it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from portal.developer.browser import Refusal
from portal.developer.usage import Tally
from portal.traffic import By, Cost, CostLine, Line
from records.errors import LOST_DATABASE
from records.usage import DAY, HOUR, Kept, Scope, Usage
from telemetry.access_log.histogram import from_text, quantile
from telemetry.prices import Prices

SECONDS: Final = 3_600
EDGE: Final = "central"
MONTH: Final = 30 * DAY
_HOURS: Final = 24
_COLUMNS: Final = {
    By.GATEWAY: ("gateway",), By.ROUTE: ("gateway", "route"), By.CALLER: ("caller",), By.TENANT: ("tenant",),
    By.TIER: ("tier",), By.STATUS: ("status",),
}  # fmt: skip
_OF_CALLERS: Final = frozenset({By.CALLER, By.TENANT})


class Traffic:
    """The console's ports `RouteTraffic` and `portal.traffic.TrafficFigures`."""

    def __init__(self, usage: Usage, prices: Prices) -> None:
        self._usage, self._prices = usage, prices

    async def of(self, gateway: str, now: float) -> Sequence[tuple[str, Tally]]:
        """Each route with requests in the last hour, the one with the most failures first."""
        since, until = int(now) - SECONDS, int(now) + 1
        found = await self._told(("route",), since, until, {"scope": Scope.ALL, "gateway": gateway})
        lines = [(values[0], one.line(values[0]).tally) for values, one in found.items()]
        return sorted(lines, key=lambda one: (-one[1].server, -one[1].requests))

    async def whole(self, since: int, until: int, gateway: str | None = None) -> Line:
        found = await self._told((), since, until, {"scope": Scope.ALL, "gateway": gateway or EDGE})
        return found.get((), _Sum()).line(gateway or EDGE)

    async def lines(
        self, by: By, since: int, until: int, *, gateway: str | None = None, most: int = 50
    ) -> Sequence[Line]:
        if by is By.HOUR:
            return await self._hours(since, until, gateway or EDGE)
        columns = _COLUMNS[by]
        which: dict[str, object] = {"scope": Scope.CALLER if by in _OF_CALLERS else Scope.ALL}
        if gateway is not None or "gateway" not in columns:
            which["gateway"] = gateway or EDGE
        found = await self._told(columns, since, until, which, with_times=by not in _OF_CALLERS)
        if by is By.ROUTE and gateway is None:
            found = {values: one for values, one in found.items() if values[0] != EDGE}
        ordered = sorted(found.items(), key=lambda one: (-one[1].requests, one[0]))[:most]
        if by in _OF_CALLERS:
            # Of many thousands only those that are shown: each has a row for each of its minutes.
            for values, one in ordered:
                its = {**which, columns[0]: values[0]}
                if values[0]:
                    # Rows of the other scope have no names. A database that is asked for both would look through all
                    # rows of the scope for each name, and not through those of the name.
                    del its["scope"]
                one.histogram = (await self._times(columns, since, until, its)).get(values, {})
        return [one.line(" / ".join(map(str, values))) for values, one in ordered]

    async def cost(self, since: int, until: int) -> Cost:
        found = await self._told(("gateway", "tier"), since, until, {"scope": Scope.ALL}, with_times=False)
        lines = [
            CostLine(gateway, tier, one.requests, self._prices.of(tier, one.requests))
            for (gateway, tier), one in sorted(found.items())
            if gateway != EDGE
        ]
        month = await self._told((), until - MONTH, until, {"scope": Scope.ALL, "gateway": EDGE}, with_times=False)
        return Cost(lines, month.get((), _Sum()).requests, self._prices.requests, self._prices.revenue)

    async def _hours(self, since: int, until: int, gateway: str) -> Sequence[Line]:
        # Older rows are days, which began at midnight and say nothing of hours.
        since = max(since, until - Kept().hours + DAY)
        sums = {hour: _Sum() for hour in range(_HOURS)}
        for row in await self._rows(("status",), since, until, {"scope": Scope.ALL, "gateway": gateway}, step=HOUR):
            sums[int(row["start"]) % DAY // HOUR].add(row)
        return [one.line(f"{hour:02}:00") for hour, one in sums.items()]

    async def _told(
        self, columns: tuple[str, ...], since: int, until: int, which: Mapping[str, object], *, with_times: bool = True
    ) -> dict[tuple[Any, ...], "_Sum"]:
        sums: dict[tuple[Any, ...], _Sum] = {}
        for row in await self._rows((*dict.fromkeys((*columns, "status")),), since, until, which):
            sums.setdefault(tuple(row[name] for name in columns), _Sum()).add(row)
        if with_times:
            for values, histogram in (await self._times(columns, since, until, which)).items():
                # A row that came between the two questions is in the next answer.
                if values in sums:
                    sums[values].histogram = histogram
        return sums

    async def _rows(
        self, by: Sequence[str], since: int, until: int, which: Mapping[str, object], step: int | None = None
    ) -> Sequence[Mapping[str, Any]]:
        try:
            return await self._usage.sums(since, until, by, step=step, **which)
        except LOST_DATABASE:
            raise _away() from None

    async def _times(
        self, columns: tuple[str, ...], since: int, until: int, which: Mapping[str, object]
    ) -> Mapping[tuple[Any, ...], Mapping[int, int]]:
        try:
            texts = await self._usage.histograms(since, until, columns, **which)
        except LOST_DATABASE:
            raise _away() from None
        return {values: from_text(" ".join(several)) for values, several in texts.items()}


@dataclass(slots=True)
class _Sum:
    """Rows of one name, added up."""

    by_status: list[tuple[int, int]] = field(default_factory=list)
    octets: int = 0
    histogram: Mapping[int, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(requests for _, requests in self.by_status)

    def add(self, row: Mapping[str, Any]) -> None:
        self.by_status.append((int(row["status"]), int(row["requests"])))
        self.octets += int(row["octets_in"]) + int(row["octets_out"])

    def line(self, name: str) -> Line:
        tally = Tally.of(self.by_status, self.histogram)
        return Line(name, tally, quantile(self.histogram, 0.99), self.octets)


def _away() -> Refusal:
    return Refusal(503, "Traffic is away", "It cannot be read now. Try again in a moment.")
