"""Requests by the minute: nothing is counted twice, nothing is lost, and names that are made up cost no memory."""

from dataclasses import replace

import pytest

from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import OTHERS, UsageCounter, UsageKey

RECORD = AccessRecord(
    at=1_700_000_030.5, gateway="marketing", node="marketing-1", request_id="r-1", method="GET", path="/api/x",
    route="content", status=200, details="via_upstream", flags="", duration=12.0, upstream_duration=8.0, upstream="up",
    attempts=1, octets_in=100, octets_out=200, address="10.0.0.1", user_agent="curl", caller="partner:acme",
    subject="", tenant="acme", tier="business",
)  # fmt: skip


def test_requests_of_one_minute_caller_route_and_result_are_added() -> None:
    counter = UsageCounter()
    counter.count([RECORD, replace(RECORD, at=1_700_000_039.9, duration=None), replace(RECORD, status=500)])
    taken = counter.take()
    key = UsageKey(1_699_999_980, "marketing", "content", "partner:acme", "acme", "business", 200)
    assert set(taken) == {key, key._replace(status=500)}
    figures = taken[key]
    assert (figures.requests, figures.failed, figures.octets_in, figures.octets_out) == (2, 0, 200, 400)
    assert (figures.duration, sum(figures.histogram.values())) == (12.0, 1)
    assert taken[key._replace(status=500)].failed == 1
    assert counter.take() == {}


@pytest.mark.parametrize(
    "other",
    [
        {"at": 1_700_000_040.0}, {"gateway": "sales"}, {"route": "seo"}, {"caller": "partner:b"}, {"tenant": "b"},
        {"tier": "free"}, {"status": 429}, {"credential": "key_1"},
    ],
)  # fmt: skip
def test_what_differs_is_counted_apart(other: dict[str, object]) -> None:
    counter = UsageCounter()
    counter.count([RECORD, replace(RECORD, **other)])  # type: ignore[arg-type]
    assert [one.requests for one in counter.take().values()] == [1, 1]


def test_callers_beyond_the_bound_are_counted_together() -> None:
    counter = UsageCounter(capacity=10)
    counter.count(replace(RECORD, caller=f"sub:{number}") for number in range(1000))
    taken = counter.take()
    assert len(taken) == 11
    assert sum(one.requests for one in taken.values()) == 1000
    assert next(one for key, one in taken.items() if key.caller == OTHERS).requests == 990


def test_keys_beyond_the_bound_are_counted_together() -> None:
    counter = UsageCounter(capacity=10)
    counter.count(replace(RECORD, credential=f"key_{number}") for number in range(1000))
    taken = counter.take()
    assert len(taken) == 11
    assert next(one for key, one in taken.items() if key.caller == OTHERS and not key.credential).requests == 990


def test_what_could_not_be_kept_is_counted_with_what_comes() -> None:
    counter = UsageCounter()
    counter.count([RECORD])
    taken = counter.take()
    counter.count([replace(RECORD, duration=100.0)])
    counter.put_back(taken)
    (figures,) = counter.take().values()
    assert (figures.requests, figures.duration, sum(figures.histogram.values())) == (2, 112.0, 2)


@pytest.mark.parametrize(
    ("status", "flags", "failed"),
    [(200, "", False), (404, "NR", False), (429, "RL", False), (500, "", True), (503, "UF,URX", True), (0, "DC", False),
     (0, "UT", True), (0, "UC,DC", False)],
)  # fmt: skip
def test_the_federation_fails_by_5xx_and_by_no_answer_to_who_waits(status: int, flags: str, failed: bool) -> None:
    assert replace(RECORD, status=status, flags=flags).failed is failed
