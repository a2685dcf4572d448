"""Traces as they are looked up: by the span that each begins with, and whole."""

import pytest

from records.database import Database
from records.traces import Traces, WantedTraces


def span(trace: int, number: int, start: float, *, edge: bool = False, **changes: object) -> dict[str, object]:
    return {
        "trace_id": f"{trace:032x}", "span_id": f"{number:016x}", "parent_id": "", "service": "apibank-central",
        "name": "GET x", "kind": "server", "start": start, "duration": 5.0, "status": 200, "failed": False,
        "edge": edge, "request_id": f"r-{trace}", "attributes": {"url.path": "/x"}, **changes,
    }  # fmt: skip


@pytest.fixture
async def traces(database: Database) -> Traces:
    found = Traces(database)
    for trace in range(4):
        await found.add(
            [span(trace, 1, trace, edge=True, status=200 + 100 * trace, duration=trace), span(trace, 2, trace + 0.5)]
        )
    return found


async def test_each_trace_is_found_once_the_newest_first(traces: Traces) -> None:
    found = await traces.find(WantedTraces())
    assert [one["request_id"] for one in found] == ["r-3", "r-2", "r-1", "r-0"]
    assert found[0]["attributes"] == {"url.path": "/x"}
    assert [one["request_id"] for one in await traces.find(WantedTraces(before=found[1]["id"]), 1)] == ["r-1"]


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (WantedTraces(request_id="r-1"), ["r-1"]),
        (WantedTraces(least=2.0), ["r-3", "r-2"]),
        (WantedTraces(status=5), ["r-3"]),
        (WantedTraces(status=400), ["r-2"]),
        (WantedTraces(service="apibank-sales"), []),
    ],
)
async def test_all_that_is_wanted_must_be_met(traces: Traces, wanted: WantedTraces, ids: list[str]) -> None:
    assert [one["request_id"] for one in await traces.find(wanted)] == ids


async def test_a_trace_has_all_its_spans_as_they_began_and_an_unknown_one_has_none(traces: Traces) -> None:
    assert [one["span_id"] for one in await traces.spans(f"{1:032x}")] == [f"{1:016x}", f"{2:016x}"]
    assert await traces.spans("nobody's") == []


async def test_old_spans_go_and_those_beyond_the_bound(traces: Traces) -> None:
    assert await traces.prune(before=2.0, most=1_000) == 4
    assert await traces.prune(before=2.0, most=1) == 3
    assert [one["span_id"] for one in await traces.spans(f"{3:032x}")] == [f"{2:016x}"]
    assert await traces.prune(before=99.0, most=1_000) == 1
    assert await traces.find(WantedTraces()) == []


async def test_one_span_that_began_long_ago_takes_no_other_with_it(traces: Traces) -> None:
    await traces.add([span(9, 1, -5.0, edge=True)])
    assert await traces.prune(before=0.0, most=1_000) == 1
    assert [one["request_id"] for one in await traces.find(WantedTraces())] == ["r-3", "r-2", "r-1", "r-0"]


async def test_a_span_that_the_database_cannot_hold_keeps_no_other_from_it(traces: Traces) -> None:
    """The wire makes none; whatever it let through must not be tried for ever."""
    many: list[dict[str, object]] = [span(7, number, 5.0) for number in range(40)]
    many[3] = {**many[3], "status": 2**63}
    many[31] = {**many[31], "name": "\ud800"}
    assert await traces.add(many) == 2
    kept = {one["span_id"] for one in await traces.spans(f"{7:032x}")}
    assert kept == {f"{number:016x}" for number in range(40) if number not in (3, 31)}
