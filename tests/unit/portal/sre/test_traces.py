"""Traces in the console: each call below what it was made for, and nothing that somebody tells of runs or hangs."""

from collections.abc import Sequence

import pytest

from portal.sre.waterfall import SpanShown, Step, waterfall
from tests.unit.portal.sre.conftest import Traced, Visit
from tests.unit.portal.sre.world import HOSTILE

TRACE = "ab" * 16


def span(name: str, parent: str = "", start: float = 0.0, duration: float = 10.0, **changes: object) -> SpanShown:
    given = {"service": "apibank-central", "status": 0, "failed": False, "attributes": {}, **changes}
    return SpanShown(span_id=name, parent_id=parent, name=name, start=start, duration=duration, **given)  # type: ignore[arg-type]


def row(number: int, **changes: object) -> dict[str, object]:
    return {
        "id": number, "trace_id": TRACE, "span_id": f"{number:016x}", "parent_id": "", "service": "apibank-central",
        "name": "GET marketing", "kind": "server", "start": 1_800_000_000.0, "duration": 12.5, "status": 200,
        "failed": False, "edge": True, "request_id": f"r-{number}", "attributes": {"url.path": "/api/x"}, **changes,
    }  # fmt: skip


def lines(steps: Sequence[Step]) -> list[tuple[int, str]]:
    return [(step.deep, step.words) for step in steps]


def test_children_stand_below_their_parents_as_they_began() -> None:
    steps = waterfall(
        [
            span("router sales-gateway egress", "root", start=0.005),
            span("async envoy.service.auth.v3.Authorization.Check egress", "root", start=0.001, duration=2.0),
            span("async envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit egress", "root", start=0.003),
            span("behind", "router sales-gateway egress", start=0.006, duration=4.0),
            span("root", duration=20.0),
        ]
    )
    assert lines(steps) == [
        (0, "root"), (1, "authorization"), (1, "limits"), (1, "call to sales-gateway"), (2, "behind")
    ]  # fmt: skip
    assert (steps[1].left, steps[1].width, steps[1].after) == pytest.approx((5.0, 10.0, 1.0))


@pytest.mark.attack("A58")
def test_spans_that_name_each_other_or_nobody_are_shown_once_each() -> None:
    steps = waterfall([span("a", "b"), span("b", "a"), span("self", "self"), span("orphan", "gone")])
    assert sorted(step.span.span_id for step in steps) == ["a", "b", "orphan", "self"]
    chain = [span(str(number), str(number - 1) if number else "") for number in range(2_000)]
    assert {step.deep for step in waterfall(chain)} == set(range(9))


def test_every_bar_is_within_the_picture() -> None:
    for steps in (waterfall([span("a", duration=0.0)]), waterfall([span("a", duration=9.0), span("b", start=0.009)])):
        assert all(step.left >= 0 and step.width > 0 and step.left + step.width <= 100.001 for step in steps)
    assert waterfall([]) == []


@pytest.mark.parametrize("who", ["", "customer", "forged"])
@pytest.mark.parametrize("path", ["/portal/sre/traces", f"/portal/sre/traces/{TRACE}"])
async def test_nobody_but_an_administrator_learns_of_traces(visit: Visit, traced: Traced, path: str, who: str) -> None:
    traced.rows = [row(1)]
    answer = await visit(who).get(path)
    assert answer.status_code == 404
    assert "GET marketing" not in answer.text


async def test_traces_are_listed_with_their_requests_and_lead_to_their_steps(visit: Visit, traced: Traced) -> None:
    traced.rows = [row(1, status=503, failed=True), row(2, parent_id=f"{1:016x}", name="router x egress")]
    text = (await visit("admin").get("/portal/sre/traces?status=5&least=10&request_id=r-1")).text
    assert (traced.asked[0].status, traced.asked[0].least, traced.asked[0].request_id) == ("5", "10", "r-1")
    assert f'href="/portal/sre/traces/{TRACE}"' in text
    text = (await visit("admin").get(f"/portal/sre/traces/{TRACE}")).text
    assert text.index("GET marketing") < text.index("call to x")
    assert "/api/x" in text


async def test_what_nobody_told_of_has_no_page_and_an_empty_list_says_why(visit: Visit, traced: Traced) -> None:
    assert "No request has been traced yet" in (await visit("admin").get("/portal/sre/traces")).text
    assert "No trace is like that" in (await visit("admin").get("/portal/sre/traces?status=5")).text
    for unknown in ("0" * 32, "x", "..%2fkeys", TRACE.upper()):
        assert (await visit("admin").get(f"/portal/sre/traces/{unknown}")).status_code == 404


@pytest.mark.parametrize(
    "query", ["status=9", "least=-1", "least=1e9", "before=x", "request_id=" + "x" * 129, "request_id=%00"]
)
async def test_a_filter_that_is_none_is_refused_in_words(visit: Visit, query: str) -> None:
    answer = await visit("admin").get(f"/portal/sre/traces?{query}")
    assert answer.status_code == 400
    assert "There is no such filter" in answer.text


async def test_older_traces_are_on_the_next_page(visit: Visit, traced: Traced) -> None:
    traced.rows = [row(number) for number in range(99, 9, -1)]
    text = (await visit("admin").get("/portal/sre/traces?status=2")).text
    assert 'href="/portal/sre/traces?status=2&amp;before=50"' in text
    assert "r-50" in text
    assert "r-49" not in text


@pytest.mark.attack("A58")
async def test_nothing_that_is_told_of_a_span_runs(visit: Visit, traced: Traced) -> None:
    traced.rows = [
        row(1, name=HOSTILE, service=HOSTILE, request_id=HOSTILE, attributes={"url.path": HOSTILE, HOSTILE: HOSTILE})
    ]
    for path in ("/portal/sre/traces", f"/portal/sre/traces/{TRACE}", f"/portal/sre/traces?request_id={HOSTILE}"):
        answer = await visit("admin").get(path)
        assert answer.status_code == 200
        assert HOSTILE not in answer.text
        assert " style=" not in answer.text


async def test_a_trace_with_more_steps_than_are_shown_says_so(visit: Visit, traced: Traced) -> None:
    traced.rows = [row(number) for number in range(499)]
    assert "It has more steps" not in (await visit("admin").get(f"/portal/sre/traces/{TRACE}")).text
    traced.rows.append(row(500))
    assert "It has more steps" in (await visit("admin").get(f"/portal/sre/traces/{TRACE}")).text
