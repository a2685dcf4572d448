"""What every counter store promises, whatever it is and however it is reached."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from ratelimit.algorithms import NEVER, CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.store import Charge, CounterStore, Outcome
from tests.contract.ratelimit.stores import KINDS, Place, admitted, remaining, running
from tests.support.redis_servers import needs_redis

SECOND = 1_000_000
DAY = 86_400 * SECOND

PLENTY = SlidingWindow(1000, DAY)
ONE = SlidingWindow(1, DAY)


@pytest.fixture(
    scope="module", params=[pytest.param(kind, marks=needs_redis if kind == "tls" else ()) for kind in KINDS]
)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with running(request.param) as found:
        yield found


@pytest.fixture
async def store(place: Place) -> AsyncIterator[CounterStore]:
    place.flush()
    opened = place.open()
    yield opened
    await opened.close()


@pytest.mark.attack("A61")
@pytest.mark.parametrize(
    "limit", [SlidingWindow(100, DAY), FixedWindow(100, 365 * DAY), Gcra(1, 30 * DAY, 99 * 30 * DAY)]
)
async def test_two_thousand_at_once_on_a_limit_of_a_hundred_admit_a_hundred(store: CounterStore, limit: Limit) -> None:
    charge = Charge(b"hot", limit)
    outcomes = await asyncio.gather(*(admitted(store, charge) for _ in range(2000)))
    assert sum(outcomes) == 100


@pytest.mark.attack("A63")
async def test_a_refused_request_consumes_nothing(store: CounterStore) -> None:
    roomy, full = Charge(b"roomy", PLENTY), Charge(b"full", ONE)
    assert await admitted(store, full)
    for order in ((roomy, full), (full, roomy)):
        assert not await admitted(store, *order)
    assert await remaining(store, roomy, full) == [1000, 0]


async def test_a_refused_request_consumes_nothing_under_concurrency_either(store: CounterStore) -> None:
    shared, own = Charge(b"shared", SlidingWindow(50, DAY)), SlidingWindow(1, DAY)
    requests = [(Charge(b"own-%d" % (index % 100), own), shared) for index in range(1000)]
    outcomes = await asyncio.gather(*(admitted(store, *request) for request in requests))
    assert sum(outcomes) == 50
    left = await remaining(store, *(Charge(b"own-%d" % index, own) for index in range(100)))
    # Fifty callers were admitted; the others' own counters were not touched by their refusals.
    assert sorted(left) == [0] * 50 + [1] * 50


async def test_a_refusal_says_which_limit_refused_and_reads_the_others_as_they_stand(store: CounterStore) -> None:
    roomy, full = Charge(b"roomy", PLENTY), Charge(b"full", ONE)
    await store.charge((roomy, full))
    outcome = await store.charge((roomy, full))
    assert isinstance(outcome, Outcome)
    (first, first_left, first_wait, _), (second, second_left, wait, _) = outcome.readings
    assert (first, first_left, first_wait) == (True, 999, 0)
    assert (second, second_left) == (False, 0)
    assert DAY - 60 * SECOND < wait <= DAY


async def test_one_counter_charged_twice_in_one_request_counts_twice(store: CounterStore) -> None:
    twice = Charge(b"twice", SlidingWindow(3, DAY))
    assert await admitted(store, twice, twice)
    assert not await admitted(store, twice, twice)
    assert await remaining(store, twice) == [1]


async def test_a_limit_in_shadow_refuses_nobody_and_costs_nobody(store: CounterStore) -> None:
    shadow, real = Charge(b"shadow", ONE, enforced=False), Charge(b"real", SlidingWindow(2, DAY))
    assert [await admitted(store, shadow, real) for _ in range(3)] == [True, True, False]
    outcome = await store.charge((shadow, Charge(b"other", PLENTY)))
    assert isinstance(outcome, Outcome)
    assert outcome.admitted
    assert not outcome.readings[0][0]


async def test_results_come_in_the_order_of_the_requests(store: CounterStore) -> None:
    charge = Charge(b"order", SlidingWindow(3, DAY))
    outcomes = await store.charge_many([(charge,), (), (charge, charge), (charge,)])
    assert [outcome.admitted for outcome in outcomes if isinstance(outcome, Outcome)] == [True, True, True, False]
    assert [len(outcome.readings) for outcome in outcomes if isinstance(outcome, Outcome)] == [1, 0, 2, 1]
    assert await store.charge_many([]) == []


async def test_reading_charges_nothing(store: CounterStore) -> None:
    charge = Charge(b"read", SlidingWindow(2, DAY))
    for left in (2, 1, 0):
        assert await remaining(store, charge) == [left]
        assert await remaining(store, charge) == [left]
        await store.charge((charge,))


async def test_hits_can_be_given_back(store: CounterStore) -> None:
    assert await admitted(store, Charge(b"refund", PLENTY, 1000))
    assert await admitted(store, Charge(b"refund", PLENTY, -400))
    assert await remaining(store, Charge(b"refund", PLENTY)) == [400]


async def test_a_calendar_quota_counts_by_the_stores_clock(store: CounterStore) -> None:
    charge = Charge(b"day", CalendarQuota(2, Period.MONTH, "Europe/Berlin"))
    assert [await admitted(store, charge) for _ in range(3)] == [True, True, False]
    ahead = Charge(b"never", CalendarQuota(2, Period.DAY), 3)
    outcome = await store.charge((ahead,))
    assert isinstance(outcome, Outcome)
    assert outcome.readings[0][2] == NEVER


async def test_a_store_in_use_is_ready(store: CounterStore) -> None:
    assert await store.ready()
