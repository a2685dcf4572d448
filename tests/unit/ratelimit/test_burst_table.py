"""Every figure of the burst table, for each of its rates, by the steps in use and by a bucket of exact fractions.

R per minute, twice that for ten seconds: T = 60/R s between hits, capacity C = 1 + R/6, both as fractions. The bucket
knows nothing of theoretical arrival times; both fill in the whole table, and must come to what it says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

import pytest

from ratelimit.algorithms import UNUSED, Gcra, State
from tests.unit.ratelimit.test_gcra import most_within

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_764_000_000 * SECOND


class Counter(Protocol):
    def hit(self, now: int) -> bool: ...

    def wait(self, now: int) -> int: ...


@dataclass
class Steps:
    """The algorithm in use."""

    limit: Gcra
    state: State = UNUSED

    def hit(self, now: int) -> bool:
        admitted, _, _, _, self.state = self.limit.step(self.state, now, 1)
        return admitted

    def wait(self, now: int) -> int:
        return self.limit.step(self.state, now, 1)[2]


@dataclass
class Bucket:
    """`capacity` tokens, `rate` more a microsecond."""

    rate: Fraction
    capacity: Fraction
    tokens: Fraction
    then: int = START

    def hit(self, now: int) -> bool:
        self.tokens = min(self.capacity, self.tokens + self.rate * (now - self.then))
        self.then = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def wait(self, now: int) -> int:
        missing = (1 - self.tokens) / self.rate - (now - self.then)
        return -(-missing.numerator // missing.denominator)


class Row(NamedTuple):
    """A line of the table; times in milliseconds."""

    at_once: int
    retry_after: Fraction
    in_ten_seconds: int
    asked_in_ten_seconds: int
    first_denial: int
    denied_at: Fraction
    thrice: int
    any_ten_seconds: int
    any_minute: int
    flood: int
    after_ten_idle: int
    after_idle_minute: int
    at_its_rate: bool


TABLE = {
    100: Row(17, Fraction(200), 34, 34, 35, Fraction(10_200), 26, 34, 117, 217, 17, 17, True),
    500: Row(84, Fraction(80), 167, 167, 168, Fraction(10_020), 126, 167, 584, 1084, 83, 84, True),
    1000: Row(167, Fraction(20), 334, 334, 335, Fraction(10_020), 251, 334, 1167, 2167, 167, 167, True),
    10_000: Row(1667, Fraction(2), 3334, 3334, 3335, Fraction(10_002), 2501, 3334, 11_667, 21_667, 1667, 1667, True),
}
INTERVALS = {100: 600_000, 500: 120_000, 1000: 60_000, 10_000: 6_000}
CAPACITIES = {100: "17.667", 500: "84.333", 1000: "167.667", 10_000: "1667.667"}


def at_once(counter: Counter, now: int) -> int:
    admitted = 0
    while counter.hit(now):
        admitted += 1
    return admitted


def paced(counter: Counter, pace: int, hits: int) -> list[bool]:
    return [counter.hit(START + index * pace) for index in range(hits)]


def flood(counter: Counter, span: int) -> list[int]:
    """When a caller is admitted who tries again at the first moment at which it may, in [0, span)."""
    now, admitted = START, []
    while now < START + span:
        if counter.hit(now):
            admitted.append(now - START)
        else:
            now += counter.wait(now)
    return admitted


def row(new: Callable[[], Counter], rate: int) -> Row:
    pace = MINUTE // (2 * rate)
    asked = -(-10 * SECOND // pace)
    burst = new()
    first = at_once(burst, START)
    twice, thrice = paced(new(), pace, 3 * asked), paced(new(), MINUTE // (3 * rate), 6 * asked)
    moments = flood(new(), 120 * SECOND)
    drained, rested = new(), new()
    for counter in (drained, rested):
        at_once(counter, START)
    denied = twice.index(False)
    # After the first denial exactly every second hit passes.
    assert twice[denied:] == [index % 2 == 1 for index in range(len(twice) - denied)]
    return Row(
        first,
        Fraction(burst.wait(START), 1000),
        sum(twice[:asked]),
        asked,
        denied + 1,
        Fraction(denied * pace, 1000),
        thrice.index(False),
        most_within(moments, 10 * SECOND),
        most_within(moments, 60 * SECOND),
        len(moments),
        at_once(drained, START + 10 * SECOND),
        at_once(rested, START + 60 * SECOND),
        all(paced(new(), 2 * pace, 3 * rate)),
    )


@pytest.mark.requirement("R71")
@pytest.mark.parametrize("rate", TABLE)
def test_every_figure_of_the_table_is_what_the_steps_and_the_exact_bucket_come_to(rate: int) -> None:
    capacity = 1 + Fraction(rate, 6)
    assert row(lambda: Bucket(Fraction(rate, MINUTE), capacity, capacity), rate) == TABLE[rate]
    assert row(lambda: Steps(Gcra(rate, MINUTE, 10 * SECOND)), rate) == TABLE[rate]


@pytest.mark.parametrize("rate", TABLE)
def test_the_interval_and_the_capacity_are_the_tables(rate: int) -> None:
    limit = Gcra(rate, MINUTE, 10 * SECOND)
    assert Fraction(limit.spacing, limit.grain) == Fraction(MINUTE, rate) == INTERVALS[rate]
    capacity = Fraction(limit.capacity, limit.spacing)
    assert capacity == 1 + Fraction(rate, 6)
    assert f"{float(capacity):.3f}" == CAPACITIES[rate]


@pytest.mark.parametrize("rate", TABLE)
def test_a_capacity_without_the_first_hit_would_break_the_promise(rate: int) -> None:
    pace, less = MINUTE // (2 * rate), Fraction(rate, 6)
    answers = paced(Bucket(Fraction(rate, MINUTE), less, less), pace, -(-10 * SECOND // pace))
    assert 1 <= answers.count(False) <= 2


@pytest.mark.parametrize("rate", TABLE)
def test_an_engine_of_whole_tokens_needs_one_more_than_the_burst_rounded_up(rate: int) -> None:
    tokens = -(-rate // 6) + 1
    assert tokens == {100: 18, 500: 85, 1000: 168, 10_000: 1668}[rate]
    pace = MINUTE // (2 * rate)
    assert all(paced(Bucket(Fraction(rate, MINUTE), Fraction(tokens), Fraction(tokens)), pace, 10 * SECOND // pace))
