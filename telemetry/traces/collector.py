"""Between those who tell of spans and the database that keeps them: bounded, and never waited for."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from telemetry.traces.metrics import TraceMetrics
from telemetry.traces.span import Span

Keep = Callable[[Sequence[Span]], Awaitable[int]]

_CAPACITY: Final = 20_000
_MOST_ID, _MOST_NAME, _MOST_VALUE = 128, 128, 512
_PATH: Final = "url.path"


class TraceCollector:
    """The port `telemetry.traces.server.Spans`. `redacted` as in telemetry.access_log.collector."""

    def __init__(self, metrics: TraceMetrics, redacted: Callable[[str, int], str], capacity: int = _CAPACITY) -> None:
        self._metrics, self._redacted, self._capacity = metrics, redacted, capacity
        self._waiting: list[Span] = []

    def take(self, spans: Sequence[Span]) -> int:
        self._metrics.spans.inc(len(spans))
        room = max(self._capacity - len(self._waiting), 0)
        self._waiting += [self._named(span) for span in spans[:room]]
        self._metrics.dropped.inc(max(len(spans) - room, 0))
        self._metrics.waiting.set(len(self._waiting))
        return max(len(spans) - room, 0)

    def unreadable(self, count: int) -> None:
        self._metrics.unreadable.inc(count)

    async def flush(self, keep: Keep) -> None:
        """Hand over what has come since the last time. What `keep` raises is raised; the latest then have no room.

        `keep` says how many it will never take: those are dropped.
        """
        spans, self._waiting = self._waiting, []
        if not spans:
            return
        try:
            self._metrics.dropped.inc(await keep(spans))
        except BaseException:
            room = max(self._capacity - len(self._waiting), 0)
            self._metrics.dropped.inc(max(len(spans) - room, 0))
            self._waiting = spans[:room] + self._waiting
            raise
        finally:
            self._metrics.waiting.set(len(self._waiting))

    def _named(self, span: Span) -> Span:
        attributes = dict(span.attributes)
        if _PATH in attributes:
            attributes[_PATH] = attributes[_PATH].partition("?")[0]
        return replace(
            span,
            name=self._redacted(span.name, _MOST_NAME),
            request_id=self._redacted(span.request_id, _MOST_ID),
            attributes={name: self._redacted(value, _MOST_VALUE) for name, value in attributes.items()},
        )
