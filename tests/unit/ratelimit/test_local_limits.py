"""The share of one process while the store is away: never more than its part, and warm from the first request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.local_limits import LocalLimits, share_of
from ratelimit.memory_store import MemoryStore
from ratelimit.store import Charge, Outcome

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
NOON = 1_764_072_000 * SECOND


class Clock:
    now = NOON

    def __call__(self) -> int:
        return self.now


def admitted(local: LocalLimits, limit: Limit, times: int, key: bytes = b"k") -> int:
    outcomes = [local.charge([Charge(key, limit)], [True]) for _ in range(times)]
    return sum(isinstance(outcome, Outcome) and outcome.admitted for outcome in outcomes)


def local_of(clock: Clock, replicas: int) -> LocalLimits:
    return LocalLimits(replicas, steady=clock, wall=clock)


LIMITS = [
    FixedWindow(100, MINUTE),
    SlidingWindow(100, MINUTE),
    CalendarQuota(100, Period.DAY),
    Gcra(100, MINUTE, 99 * MINUTE // 100),
]


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("replicas", "share"), [(1, 100), (2, 50), (3, 33), (4, 25), (100, 1), (1000, 1)])
def test_processes_that_are_cold_admit_their_part_of_a_limit(limit: Limit, replicas: int, share: int) -> None:
    assert admitted(local_of(Clock(), replicas), limit, 150) == share


def test_nobody_is_admitted_where_nobody_ever_is() -> None:
    assert admitted(local_of(Clock(), 2), FixedWindow(0, MINUTE), 3) == 0


@given(st.integers(1, 5000), st.integers(0, 30), st.integers(1, 20))
def test_the_rates_of_all_shares_are_the_rate_and_their_bursts_the_burst(rate: int, burst: int, replicas: int) -> None:
    limit = Gcra(rate, MINUTE, burst * SECOND)
    share = share_of(limit, replicas)
    assert isinstance(share, Gcra)
    assert (share.amount * limit.period * replicas, share.period) == (limit.amount * share.period, MINUTE * replicas)
    at_once, all_at_once = (each.step((), NOON, 0)[1] for each in (share, limit))
    assert replicas * at_once <= max(all_at_once, replicas)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize(("used", "left"), [(0, 25), (40, 15), (41, 14), (99, 0), (100, 0)])
async def test_a_share_begins_where_the_store_was_last_heard(limit: Limit, used: int, left: int) -> None:
    clock = Clock()
    store, local = MemoryStore(steady=clock, wall=clock), local_of(clock, 4)
    charge = Charge(b"k", limit, used or 1)
    outcome = await store.charge((charge if used else Charge(b"other", limit),))
    assert isinstance(outcome, Outcome)
    if used:
        local.heard((charge,), (True,), outcome.readings)
    assert admitted(local, limit, 50) in {left, left - 1}


@pytest.mark.parametrize("limit", LIMITS)
async def test_what_was_heard_is_forgotten_when_it_is_over(limit: Limit) -> None:
    clock = Clock()
    store, local = MemoryStore(steady=clock, wall=clock), local_of(clock, 4)
    charge = Charge(b"k", limit, 100)
    outcome = await store.charge((charge,))
    assert isinstance(outcome, Outcome)
    local.heard((charge,), (True,), outcome.readings)
    assert admitted(local, limit, 5) == 0
    clock.now += DAY + 1
    assert admitted(local, limit, 50) == 25


@pytest.mark.parametrize("limit", LIMITS[:3])
def test_a_store_that_comes_and_goes_gives_nobody_another_share(limit: Limit) -> None:
    local = local_of(Clock(), 4)
    assert admitted(local, limit, 50) == 25
    # The store is back, and says that next to nothing is used: what was admitted here is not known there.
    local.heard((Charge(b"k", limit),), (True,), ((True, 99, 0, 59 * SECOND),))
    assert admitted(local, limit, 50) == 0


def test_limits_that_are_open_meanwhile_are_not_counted() -> None:
    local = local_of(Clock(), 2)
    charges = [Charge(b"open", FixedWindow(7, MINUTE)), Charge(b"local", FixedWindow(2, MINUTE))]
    for expected in (True, False):
        outcome = local.charge(charges, [False, True])
        assert isinstance(outcome, Outcome)
        assert outcome.admitted is expected
        assert outcome.readings[0] == (True, 7, 0, 0)


def test_those_last_heard_of_are_remembered_and_no_others() -> None:
    local = LocalLimits(1, most=10, steady=Clock(), wall=Clock())
    limit = FixedWindow(1, MINUTE)
    for number in range(100):
        local.heard((Charge(b"%d" % number, limit),), (True,), ((True, 0, 0, MINUTE),))
    assert [admitted(local, limit, 1, b"%d" % number) for number in (0, 99)] == [1, 0]
