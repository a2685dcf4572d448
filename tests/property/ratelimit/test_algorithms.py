"""The steps against oracles that keep everything and round nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from zoneinfo import available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ratelimit.algorithms import UNUSED, CalendarQuota, FixedWindow, Gcra, Period, SlidingWindow, State

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_764_000_000 * SECOND

gaps = st.one_of(st.just(0), st.integers(0, 1000), st.integers(0, 20 * SECOND), st.integers(0, 3 * MINUTE))
schedules = st.lists(st.tuples(gaps, st.integers(-5, 30)), min_size=1, max_size=60)
amounts = st.one_of(st.integers(1, 70), st.sampled_from([100, 500, 1000, 10_000, 99_999]))


@dataclass
class RationalBucket:
    """A token bucket: `capacity` tokens, refilled by `rate` tokens per microsecond, in exact fractions."""

    rate: Fraction
    capacity: Fraction
    tokens: Fraction
    then: int

    def hit(self, now: int, hits: int) -> bool:
        self.tokens = min(self.capacity, self.tokens + self.rate * (now - self.then))
        self.then = now
        if self.tokens < (hits or 1) and hits >= 0:
            return False
        self.tokens = min(self.capacity, self.tokens - hits)
        return True

    def wait(self, hits: int) -> int:
        missing = ((hits or 1) - self.tokens) / self.rate
        return -(-missing.numerator // missing.denominator)


@given(amounts, st.sampled_from([SECOND, MINUTE, 3600 * SECOND]), st.integers(0, 12), schedules)
@example(100, MINUTE, 10, [(0, 1)] * 18)
def test_gcra_is_the_token_bucket_of_exact_fractions(
    amount: int, period: int, tolerance: int, schedule: Sequence[tuple[int, int]]
) -> None:
    limit = Gcra(amount, period, tolerance * SECOND)
    rate = Fraction(amount, period)
    bucket = RationalBucket(rate, 1 + rate * tolerance * SECOND, 1 + rate * tolerance * SECOND, START)
    state: State = UNUSED
    now = START
    for gap, hits in schedule:
        now += gap
        admitted, remaining, retry_after, reset_after, state = limit.step(state, now, hits)
        assert admitted == bucket.hit(now, hits)
        assert remaining == bucket.tokens // 1
        if not admitted and (hits or 1) <= bucket.capacity:
            assert retry_after == bucket.wait(hits)
        missing = (bucket.capacity - bucket.tokens) / rate
        assert reset_after == -(-missing.numerator // missing.denominator)


@pytest.mark.attack("A62")
@given(amounts, st.integers(0, 12), st.lists(gaps, min_size=1, max_size=80), st.integers(1, 100))
def test_no_window_of_any_length_gets_more_than_the_bound(
    amount: int, tolerance: int, moments: Sequence[int], seconds: int
) -> None:
    limit, state, now = Gcra(amount, MINUTE, tolerance * SECOND), UNUSED, START
    admitted = []
    for gap in moments:
        now += gap
        passed, _, _, _, state = limit.step(state, now, 1)
        if passed:
            admitted.append(now)
    for index, first in enumerate(admitted):
        within = sum(1 for moment in admitted[index:] if moment <= first + seconds * SECOND)
        assert within <= amount * (seconds + tolerance) // 60 + 1


@given(amounts, schedules)
def test_a_fixed_window_is_a_count_per_window(amount: int, schedule: Sequence[tuple[int, int]]) -> None:
    limit, state, now = FixedWindow(amount, MINUTE), UNUSED, START
    counts: dict[int, int] = {}
    for gap, hits in schedule:
        now += gap
        count = counts.get(now // MINUTE, 0)
        admitted, remaining, retry_after, _, state = limit.step(state, now, hits)
        assert admitted == (hits < 0 or count + (hits or 1) <= amount)
        if admitted:
            counts[now // MINUTE] = max(count + hits, 0)
        elif (hits or 1) <= amount:
            assert retry_after == MINUTE - now % MINUTE
        assert remaining == amount - counts.get(now // MINUTE, 0)


@given(st.integers(1, 64), schedules)
def test_a_small_sliding_window_is_the_log_of_all_arrivals(amount: int, schedule: Sequence[tuple[int, int]]) -> None:
    limit, state, now = SlidingWindow(amount, MINUTE), UNUSED, START
    log: list[int] = []
    for gap, hits in schedule:
        now += gap
        log = [moment for moment in log if moment > now - MINUTE]
        admitted, remaining, retry_after, _, state = limit.step(state, now, hits)
        wanted = hits or 1
        assert admitted == (hits < 0 or len(log) + wanted <= amount)
        if admitted:
            log = log[: max(len(log) + hits, 0)] if hits < 0 else log + [now] * hits
        elif wanted <= amount:
            assert retry_after == log[len(log) + wanted - amount - 1] + MINUTE - now
        assert remaining == amount - len(log)


@given(st.sampled_from([65, 100, 1000]), st.lists(st.tuples(gaps, st.integers(1, 60)), max_size=80))
def test_a_large_sliding_window_never_admits_too_many_and_asks_to_wait_little_longer(
    amount: int, schedule: Sequence[tuple[int, int]]
) -> None:
    limit, state, now = SlidingWindow(amount, MINUTE), UNUSED, START
    passed: list[tuple[int, int]] = []
    slack = limit.resolution
    for gap, hits in schedule:
        now += gap
        admitted, _, retry_after, _, state = limit.step(state, now, hits)
        if admitted:
            passed.append((now, hits))
            assert sum(n for moment, n in passed if moment > now - MINUTE) <= amount
        else:
            assert sum(n for moment, n in passed if moment > now - MINUTE - slack) + hits > amount
            assert limit.step(state, now + retry_after, hits)[0]
            assert not limit.step(state, now + retry_after - 1, hits)[0]


limits = st.one_of(
    st.builds(Gcra, amounts, st.just(MINUTE), st.integers(0, 20 * SECOND)),
    st.builds(FixedWindow, st.integers(0, 100), st.just(MINUTE)),
    st.builds(SlidingWindow, st.integers(0, 100), st.just(MINUTE)),
    st.builds(CalendarQuota, st.integers(0, 100), st.sampled_from(Period), st.sampled_from(["UTC", "Asia/Kathmandu"])),
)


jumps = st.one_of(
    st.integers(-3, 3), st.integers(-2 * MINUTE, 2 * MINUTE), st.integers(-(10**9) * SECOND, 10**9 * SECOND)
)


@given(limits, schedules, jumps)
@example(SlidingWindow(1, MINUTE), [(0, 0), (0, 0), (0, 1), (0, 0)], -1)
@example(Gcra(100, MINUTE, 0), [(0, 1), (0, 1), (0, 1), (0, 1)], -MINUTE)
def test_every_algorithm_keeps_the_promises_of_a_step(
    limit: Gcra | FixedWindow | SlidingWindow | CalendarQuota, schedule: Sequence[tuple[int, int]], jump: int
) -> None:
    state, now = UNUSED, START
    for index, (gap, hits) in enumerate(schedule):
        now += gap + (jump if index == 3 else 0)
        before = state
        admitted, remaining, retry_after, reset_after, state = limit.step(before, now, hits)
        assert remaining >= 0
        assert reset_after >= 0
        if admitted:
            assert retry_after == 0
        else:
            assert state == before
            # A log of arrivals that a clock left behind by going back is bounded (test_windows), and not exact: to put
            # it right, a refusal would have to write.
            behind = isinstance(limit, SlidingWindow) and index >= 3 and jump < 0
            if retry_after >= 0 and not behind:
                assert limit.step(state, now + retry_after, hits)[0]
                assert not limit.step(state, now + retry_after - 1, hits)[0]
        if hits == 0:
            assert state == before
            assert admitted == (remaining > 0)
        # From the moment that it names, a state is worth nothing: a store may drop it.
        if state:
            dropped = max(now, state[0] + 1)
            assert limit.step(state, dropped, 1)[:4] == limit.step(UNUSED, dropped, 1)[:4]


@given(
    st.sampled_from(sorted(available_timezones() - {"localtime"})),
    st.integers(946_684_800, 2_145_916_800),
    st.sampled_from(Period),
)
def test_calendar_periods_hold_their_moment_and_leave_no_gap(zone: str, second: int, period: Period) -> None:
    limit, now = CalendarQuota(1, period, zone), second * SECOND
    start, end = limit.bounds(now)
    assert start <= now < end
    assert limit.bounds(start) == limit.bounds(end - 1) == (start, end)
    assert limit.bounds(end)[0] == end
    assert limit.bounds(start - 1)[1] == start
