"""Fixed and sliding windows: the edge that one has and the other has not, refunds, changed limits, jumping clocks."""

import pytest

from ratelimit.algorithms import NEVER, UNUSED, FixedWindow, SlidingWindow, State

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOON = 1_764_072_000 * SECOND  # a whole minute, hour and half day


def hit(limit: FixedWindow | SlidingWindow, state: State, now: int, hits: int = 1) -> tuple[bool, int, int, State]:
    admitted, remaining, retry_after, _, state = limit.step(state, now, hits)
    return admitted, remaining, retry_after, state


def spend(limit: FixedWindow | SlidingWindow, state: State, now: int) -> tuple[int, State]:
    admitted = 0
    while (answer := hit(limit, state, now))[0]:
        admitted, state = admitted + 1, answer[3]
    return admitted, state


def test_a_fixed_window_counts_down_and_says_when_it_ends() -> None:
    limit, state = FixedWindow(3, MINUTE), UNUSED
    now = NOON + 20 * SECOND
    for left in (2, 1, 0):
        admitted, remaining, retry_after, state = hit(limit, state, now)
        assert (admitted, remaining, retry_after) == (True, left, 0)
    assert hit(limit, state, now) == (False, 0, 40 * SECOND, state)
    assert not hit(limit, state, NOON + MINUTE - 1)[0]
    assert hit(limit, state, NOON + MINUTE)[:2] == (True, 2)


@pytest.mark.attack("A62")
def test_a_fixed_window_admits_twice_its_amount_around_an_edge_and_a_sliding_window_does_not() -> None:
    before, after = NOON - SECOND, NOON + SECOND
    for limit, most in ((FixedWindow(50, MINUTE), 100), (SlidingWindow(50, MINUTE), 50)):
        first, state = spend(limit, UNUSED, before)
        second, state = spend(limit, state, after)
        assert first + second == most


def test_a_sliding_window_gives_each_hit_back_exactly_one_period_later() -> None:
    limit, state = SlidingWindow(2, MINUTE), UNUSED
    _, _, _, state = hit(limit, state, NOON)
    _, _, _, state = hit(limit, state, NOON + 10 * SECOND)
    admitted, _, retry_after, state = hit(limit, state, NOON + 30 * SECOND)
    assert (admitted, retry_after) == (False, 30 * SECOND)
    # Two hits need both to have left.
    assert hit(limit, state, NOON + 30 * SECOND, 2)[2] == 40 * SECOND
    assert not hit(limit, state, NOON + MINUTE - 1)[0]
    assert hit(limit, state, NOON + MINUTE)[0]


def test_a_large_sliding_window_is_remembered_in_bounded_space() -> None:
    limit, state = SlidingWindow(100_000, MINUTE), UNUSED
    for index in range(5000):
        _, _, _, state = hit(limit, state, NOON + index * 50_000)
        assert len(state) <= 2 * 66


@pytest.mark.parametrize("limit", [FixedWindow(10, MINUTE), SlidingWindow(10, MINUTE)])
def test_hits_are_taken_whole_or_not_at_all(limit: FixedWindow | SlidingWindow) -> None:
    admitted, remaining, _, state = hit(limit, UNUSED, NOON, 6)
    assert (admitted, remaining) == (True, 4)
    assert hit(limit, state, NOON, 6) == (False, 4, MINUTE, state)
    assert hit(limit, state, NOON, 4)[:2] == (True, 0)
    assert hit(limit, state, NOON, 11)[2] == NEVER


@pytest.mark.parametrize("limit", [FixedWindow(10, MINUTE), SlidingWindow(10, MINUTE)])
def test_refunds_and_questions(limit: FixedWindow | SlidingWindow) -> None:
    _, _, _, state = hit(limit, UNUSED, NOON, 10)
    assert not hit(limit, state, NOON, 0)[0]
    admitted, remaining, _, state = hit(limit, state, NOON, -3)
    assert (admitted, remaining) == (True, 3)
    assert hit(limit, state, NOON, 0) == (True, 3, 0, state)
    assert hit(limit, state, NOON, -1000)[1] == 10


@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
def test_a_changed_limit_keeps_its_count(kind: type[FixedWindow] | type[SlidingWindow]) -> None:
    _, state = spend(kind(10, MINUTE), UNUSED, NOON)
    assert hit(kind(15, MINUTE), state, NOON)[:2] == (True, 4)
    assert hit(kind(5, MINUTE), state, NOON)[:2] == (False, 0)


@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
def test_zero_admits_nothing_ever(kind: type[FixedWindow] | type[SlidingWindow]) -> None:
    assert hit(kind(0, MINUTE), UNUSED, NOON) == (False, 0, NEVER, UNUSED)


@pytest.mark.attack("A64")
@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
@pytest.mark.parametrize("back", [1, SECOND, MINUTE])
def test_a_clock_that_goes_back_grants_no_second_budget(
    kind: type[FixedWindow] | type[SlidingWindow], back: int
) -> None:
    limit = kind(10, MINUTE)
    _, state = spend(limit, UNUSED, NOON)
    assert spend(limit, state, NOON - back)[0] == 0


@pytest.mark.parametrize("kind", [FixedWindow, SlidingWindow])
def test_a_clock_that_was_years_ahead_costs_one_budget_and_locks_nobody_out(
    kind: type[FixedWindow] | type[SlidingWindow],
) -> None:
    limit = kind(10, MINUTE)
    _, state = spend(limit, UNUSED, NOON + 10**9 * SECOND)
    admitted, state = spend(limit, state, NOON)
    assert admitted == 10
    assert hit(limit, state, NOON)[2] == MINUTE
    assert spend(limit, state, NOON + MINUTE)[0] == 10
