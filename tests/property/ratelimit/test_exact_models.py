"""The steps against models in exact fractions: any window, changed limits, clocks that go back, calendars."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ratelimit.algorithms import NEVER, UNUSED, CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow, State

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_764_000_000 * SECOND

rates = st.one_of(st.integers(1, 70), st.sampled_from([100, 500, 1000, 10_000, 99_999]))
gaps = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 20 * SECOND), st.integers(0, 3 * MINUTE))
arrivals = st.lists(st.tuples(gaps, st.integers(1, 30)), min_size=1, max_size=60)


@pytest.mark.requirement("R71")
@pytest.mark.attack("A62")
@given(rates, st.integers(0, 12 * SECOND), arrivals, st.integers(0, 5 * MINUTE))
def test_any_closed_window_admits_at_most_its_share_and_one_burst(
    rate: int, tolerance: int, schedule: Sequence[tuple[int, int]], window: int
) -> None:
    limit, state, now = Gcra(rate, MINUTE, tolerance), UNUSED, START
    admitted: list[tuple[int, int]] = []
    for gap, hits in schedule:
        now += gap
        passed, _, _, _, state = limit.step(state, now, hits)
        if passed:
            admitted.append((now, hits))
    most = Fraction(rate * (window + tolerance), MINUTE) + 1
    for index, (first, _) in enumerate(admitted):
        assert sum(hits for moment, hits in admitted[index:] if moment <= first + window) <= most


@given(
    st.lists(st.tuples(gaps, st.integers(-10, 30), rates, st.integers(0, 20 * SECOND)), min_size=1, max_size=40),
)
@example([(0, 17, 100, 10 * SECOND), (0, 1, 50, 10 * SECOND), (0, 1, 200, 10 * SECOND), (5 * SECOND, 1, 200, SECOND)])
@example([(0, 17, 100, 10 * SECOND), (0, -1, 100, SECOND)])
def test_a_rate_that_is_raised_or_lowered_goes_on_from_the_time_that_was_used(
    schedule: Sequence[tuple[int, int, int, int]],
) -> None:
    """The model keeps the theoretical arrival time as a fraction; a change of rate costs a microsecond at the most."""
    state: State = UNUSED
    arrival, now, changes, before = Fraction(0), START, 0, None
    for gap, hits, rate, tolerance in schedule:
        now += gap
        limit = Gcra(rate, MINUTE, tolerance)
        changes += limit != before
        before = limit
        interval = Fraction(MINUTE, rate)
        used = max(arrival - now, Fraction(0))
        room = tolerance + interval - used
        cost = (hits or 1) * interval
        admitted, _, retry_after, _, state = limit.step(state, now, hits)
        if hits < 0 or abs(cost - room) > changes:
            assert admitted == (hits < 0 or cost <= room)
        if admitted and hits:
            arrival = now + max(used + hits * interval, Fraction(0))
        elif not admitted and retry_after != NEVER:
            assert abs(retry_after - (cost - room)) <= changes + 1
            assert limit.step(state, now + retry_after, hits)[0]
            assert not limit.step(state, now + retry_after - 1, hits)[0]


@given(st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(-5, 9), st.integers(0, 40)), max_size=50))
@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
def test_a_window_that_is_made_larger_or_smaller_keeps_its_count(
    kind: type[FixedWindow] | type[SlidingWindow], schedule: Sequence[tuple[int, int, int]]
) -> None:
    state, now = UNUSED, START
    log: list[int] = []
    for gap, hits, amount in schedule:
        now += gap
        begin = now - now % MINUTE if kind is FixedWindow else now - MINUTE + 1
        log = [moment for moment in log if moment >= begin]
        admitted, remaining, _, _, state = kind(amount, MINUTE).step(state, now, hits)
        assert admitted == (hits < 0 or len(log) + (hits or 1) <= amount)
        if admitted:
            log = log[: max(len(log) + hits, 0)] if hits < 0 else log + [now] * hits
        assert remaining == max(amount - len(log), 0)


@pytest.mark.attack("A64")
@given(
    st.sampled_from([Gcra(100, MINUTE, 10 * SECOND), Gcra(7, MINUTE, SECOND), FixedWindow(10, MINUTE)]),
    st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(0, 60 * SECOND), st.integers(1, 12)), max_size=60),
)
def test_a_clock_that_goes_back_a_minute_grants_nothing_beyond_the_time_that_it_has_shown(
    limit: Gcra | FixedWindow, schedule: Sequence[tuple[int, int, int]]
) -> None:
    state, furthest, admitted = UNUSED, START, 0
    for forward, back, hits in schedule:
        furthest += forward
        # It goes back and forth, never more than a minute behind the furthest that it has shown.
        passed, _, _, _, state = limit.step(state, furthest - back, hits)
        admitted += hits * passed
    shown = furthest - START
    if isinstance(limit, Gcra):
        assert admitted <= Fraction(limit.amount * (shown + limit.tolerance + MINUTE), MINUTE) + 1
    else:
        assert admitted <= limit.amount * (shown // MINUTE + 3)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Havana"]
# Both switches of 2026 in each of the zones are within a few days of these moments.
SWITCHES = ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-12-31"]
moments = st.builds(
    lambda day, offset: int(datetime.fromisoformat(day + "T00:00:00+00:00").timestamp()) * SECOND + offset,
    st.sampled_from(SWITCHES),
    st.integers(-36 * 3600 * SECOND, 36 * 3600 * SECOND),
)


def page(period: Period, zone: str, now: int) -> tuple[int, ...]:
    """The page of the calendar on a wall there."""
    local = datetime.fromtimestamp(now // SECOND, ZoneInfo(zone))
    if period is Period.WEEK:
        return tuple(local.isocalendar())[:2]
    return (local.year, local.month, local.day)[: 2 if period is Period.MONTH else 3]


@pytest.mark.attack("A64")
@given(
    st.sampled_from(Period),
    st.sampled_from(ZONES),
    moments,
    st.lists(st.tuples(st.integers(0, 30 * 3600 * SECOND), st.integers(-3, 6)), min_size=1, max_size=30),
)
def test_a_quota_counts_by_the_page_of_the_calendar_through_both_switches(
    period: Period, zone: str, now: int, schedule: Sequence[tuple[int, int]]
) -> None:
    limit, state = CalendarQuota(10, period, zone), UNUSED
    counts: dict[tuple[int, ...], int] = defaultdict(int)
    for gap, hits in schedule:
        now += gap
        today = page(period, zone, now)
        admitted, remaining, retry_after, _, state = limit.step(state, now, hits)
        assert admitted == (hits < 0 or counts[today] + (hits or 1) <= 10)
        if admitted:
            counts[today] = max(counts[today] + hits, 0)
        else:
            assert page(period, zone, now + retry_after) != today == page(period, zone, now + retry_after - 1)
        assert remaining == 10 - counts[today]


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]),
    moments,
    st.integers(0, 24 * 3600 * SECOND),
)
def test_another_zone_in_mid_day_gives_nobody_a_second_day(one: str, other: str, now: int, later: int) -> None:
    first, second = CalendarQuota(10, Period.DAY, one), CalendarQuota(10, Period.DAY, other)
    admitted, _, _, _, state = first.step(UNUSED, now, 10)
    assert admitted
    # Until the day is over for whichever zone it is over in first, nothing more passes.
    assume(now + later < min(first.bounds(now)[1], second.bounds(now)[1]))
    assert not second.step(state, now + later, 1)[0]


@given(
    st.sampled_from(
        [
            Gcra(100, MINUTE, 10 * SECOND),
            FixedWindow(10, MINUTE),
            SlidingWindow(10, MINUTE),
            CalendarQuota(9, Period.DAY),
        ]
    ),
    arrivals,
    st.integers(1, 9),
)
def test_what_is_given_back_at_once_was_never_taken(
    limit: Limit, schedule: Sequence[tuple[int, int]], hits: int
) -> None:
    state, now = UNUSED, START
    for gap, wanted in schedule:
        now += gap
        admitted, _, _, _, after = limit.step(state, now, hits)
        if admitted:
            _, remaining, _, _, returned = limit.step(after, now, -hits)
            assert remaining == limit.step(state, now, 0)[1]
            for later in (now, now + SECOND, now + MINUTE):
                assert limit.step(returned, later, wanted)[:3] == limit.step(state, later, wanted)[:3]
        state = limit.step(state, now, wanted)[4]
