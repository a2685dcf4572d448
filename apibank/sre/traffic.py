"""What a gateway's routes were sent, as the tables of usage have it."""

from collections.abc import Sequence
from typing import Final

from portal.developer.browser import Refusal
from portal.developer.usage import Tally
from records.errors import LOST_DATABASE
from records.usage import Scope, Usage
from telemetry.access_log.histogram import from_text

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
        counts: dict[str, list[tuple[int, int]]] = {}
        for row in rows:
            counts.setdefault(str(row["route"]), []).append((int(row["status"]), int(row["requests"])))
        found = [
            (route, Tally.of(by_status, from_text(" ".join(texts.get((route,), ())))))
            for route, by_status in counts.items()
        ]
        return sorted(found, key=lambda one: (-one[1].server, -one[1].requests))
