"""Figures of the spans that are told."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

_PREFIX: Final = "apibank_trace"


class TraceMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}_total", text, registry=registry)

        self.spans = counter("spans", "Spans that were told.")
        self.unreadable = counter("spans_unreadable", "Messages and spans that were none.")
        self.dropped = counter(
            "spans_dropped", "Spans that are not kept, as there was no room or the database cannot hold them."
        )
        self.waiting = Gauge(f"{_PREFIX}_spans_waiting", "Spans that are not in the database yet.", registry=registry)
