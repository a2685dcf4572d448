"""What a gateway's routes were sent, as the tables of usage have it."""

from collections.abc import Sequence
from typing import Final

from apibank.developer.telemetry import added
from portal.developer.browser import Refusal
from portal.developer.usage import Tally
from records.errors import LOST_DATABASE
from records.usage import Scope, Usage
from telemetry.access_log.histogram import quantile

SECONDS: Final = 3_600


class Traffic:
    """The console's port `RouteTraffic`."""

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    async def of(self, gateway: str, now: float) -> Sequence[tuple[str, Tally]]:
        """Each route with requests in the last hour, the one with the most failures first."""
        since, until = int(now) - SECONDS, int(now) + 1
        try:
            rows = await self._usage.sums(since, until, ("route", "status"), scope=Scope.ALL, gateway=gateway)
            texts = await self._usage.histograms(since, until, ("route",), scope=Scope.ALL, gateway=gateway)
        except LOST_DATABASE:
            raise Refusal(503, "Traffic is away", "It cannot be read now. Try again in a moment.") from None
        counts: dict[str, list[int]] = {}
        for row in rows:
            status = int(row["status"])
            which = 1 if 400 <= status < 500 else 2 if status >= 500 or status == 0 else 0
            counts.setdefault(str(row["route"]), [0, 0, 0])[which] += int(row["requests"])
        found = []
        for route, (good, client, server) in counts.items():
            took = added(" ".join(texts.get((route,), ())))
            found.append((route, Tally(good, client, server, quantile(took, 0.5), quantile(took, 0.95))))
        return sorted(found, key=lambda one: (-one[1].server, -one[1].requests))
