"""The traces that the console shows, as the tables of telemetry have them."""

from collections.abc import Mapping, Sequence
from typing import Any

from portal.developer.browser import Refusal
from portal.sre.traces import TraceFilters
from records.errors import LOST_DATABASE
from records.traces import Traces, WantedTraces


class TraceShelf:
    """The console's port `TraceLog`."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def find(self, filters: TraceFilters, count: int) -> Sequence[Mapping[str, Any]]:
        wanted = WantedTraces(
            request_id=filters.request_id or None,
            least=float(filters.least) if filters.least else None,
            status=int(filters.status) if filters.status else None,
            before=int(filters.before) if filters.before else None,
        )
        try:
            return await self._traces.find(wanted, count)
        except LOST_DATABASE:
            raise _away() from None

    async def spans(self, trace_id: str) -> Sequence[Mapping[str, Any]]:
        try:
            return await self._traces.spans(trace_id)
        except LOST_DATABASE:
            raise _away() from None


def _away() -> Refusal:
    return Refusal(503, "Traces are away", "They cannot be read now. Try again in a moment.")
