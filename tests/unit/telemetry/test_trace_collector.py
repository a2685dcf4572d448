"""Spans wait for the database, so many at most, and without what should be in no log."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from telemetry.traces.collector import TraceCollector
from telemetry.traces.metrics import TraceMetrics
from telemetry.traces.span import Span


def span(number: int = 0, **attributes: str) -> Span:
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return Span("t" * 32, f"{number:016x}", "", "s", "GET x", "server", 1.0, 1.0, 200, False, True, "r", named)


def masked(text: str, most: int) -> str:
    return text[:most].replace("secret", "*")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def collector(registry: CollectorRegistry, capacity: int) -> TraceCollector:
    return TraceCollector(TraceMetrics(registry), masked, capacity)


async def test_what_has_no_room_is_dropped_and_counted(registry: CollectorRegistry) -> None:
    spans = collector(registry, 3)
    assert spans.take([span(number) for number in range(5)]) == 2
    kept: list[Span] = []

    async def keep(some: Sequence[Span]) -> int:
        kept.extend(some)
        return 0

    await spans.flush(keep)
    assert [one.span_id for one in kept] == [f"{number:016x}" for number in range(3)]
    assert registry.get_sample_value("apibank_trace_spans_dropped_total") == 2
    assert registry.get_sample_value("apibank_trace_spans_total") == 5
    assert spans.take([span()]) == 0


async def test_what_the_database_did_not_take_is_told_again(registry: CollectorRegistry) -> None:
    spans, kept = collector(registry, 3), list[Span]()

    async def lost(_: Sequence[Span]) -> int:
        # Meanwhile another comes, and has the room.
        spans.take([span(9)])
        raise OSError

    async def keep(some: Sequence[Span]) -> int:
        kept.extend(some)
        return 0

    spans.take([span(number) for number in range(3)])
    with pytest.raises(OSError):
        await spans.flush(lost)
    await spans.flush(keep)
    assert {one.span_id[-1] for one in kept} == {"0", "1", "9"}
    assert registry.get_sample_value("apibank_trace_spans_dropped_total") == 1
    assert registry.get_sample_value("apibank_trace_spans_waiting") == 0


async def test_credentials_and_queries_are_taken_out(registry: CollectorRegistry) -> None:
    spans, kept = collector(registry, 3), list[Span]()

    async def keep(some: Sequence[Span]) -> int:
        kept.extend(some)
        return 0

    spans.take([span(url__path="/secret/a?token=b", http__method="secret")])
    await spans.flush(keep)
    assert [one.attributes for one in kept] == [{"url.path": "/*/a", "http.method": "*"}]


async def test_what_the_database_will_never_take_is_dropped_and_counted(registry: CollectorRegistry) -> None:
    spans = collector(registry, 3)

    async def keep(some: Sequence[Span]) -> int:
        return len(some) - 1

    spans.take([span(number) for number in range(3)])
    await spans.flush(keep)
    assert registry.get_sample_value("apibank_trace_spans_dropped_total") == 2
    assert registry.get_sample_value("apibank_trace_spans_waiting") == 0
