"""Near the store nothing is admitted, and nobody is refused whom the store would admit, but for the stated second.

The store here is in memory, with a clock of its own; several processes ask it, each through its own near cache, each
with an answer that travels for a while. Another process may give hits back, or put a changed limit in force.
"""

from copy import deepcopy
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.memory_store import MemoryStore
from ratelimit.near_cache import NearCache
from ratelimit.store import Charge, Outcome

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 1_764_000_000 * SECOND
# How much our steady clock is behind the store's.
APART = 1_763_999_000 * SECOND


@dataclass
class World:
    """A store and the processes that ask it. Time passes only where a test says so."""

    now: int = START
    near: list[NearCache] = field(default_factory=lambda: [NearCache() for _ in range(3)])
    ahead: list[int | None] = field(default_factory=lambda: [None, None, None])

    def __post_init__(self) -> None:
        self.store = MemoryStore(steady=lambda: self.now, wall=lambda: self.now)

    def ask(self, process: int, charges: list[Charge], travel: int) -> tuple[Outcome, bool]:
        """The outcome, and whether it came from nearby. As RedisStore does it."""
        moment, ahead = self.now - APART, self.ahead[process]
        if ahead is not None:
            known = self.near[process].refusal(charges, moment + ahead, moment)
            if known is not None:
                return known, True
        self.now += travel
        (outcome,) = self.store.charge_now((charges,))
        assert isinstance(outcome, Outcome)
        self.ahead[process] = self.now - moment
        self.near[process].learn(charges, outcome, self.now, moment)
        self.now += travel
        return outcome, False

    def would_admit(self, charges: list[Charge]) -> bool:
        """What the store would say to them at this moment, without being charged."""
        (outcome,) = deepcopy(self.store).charge_now((charges,))
        assert isinstance(outcome, Outcome)
        return outcome.admitted


LIMITS: list[Limit] = [
    Gcra(7, SECOND, SECOND),
    Gcra(99_999, MINUTE, 0),
    Gcra(3, MINUTE, 10 * SECOND),
    FixedWindow(3, SECOND),
    FixedWindow(5, MINUTE),
    SlidingWindow(3, SECOND),
    SlidingWindow(90, SECOND),
    CalendarQuota(4, Period.DAY),
]
KINDS = {Gcra: b"g", FixedWindow: b"f", SlidingWindow: b"s", CalendarQuota: b"q"}
charge = st.builds(
    lambda limit, index, hits, enforced: Charge(KINDS[type(limit)] + b"%d" % index, limit, hits, enforced),
    st.sampled_from(LIMITS),
    st.integers(0, 1),
    st.one_of(st.just(1), st.integers(-3, 60)),
    st.sampled_from([True, True, True, False]),
)
requests = st.lists(charge, min_size=1, max_size=3)
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        requests,
        st.one_of(st.just(0), st.integers(0, 5_000), st.integers(0, SECOND)),
        st.integers(0, 2_000),
    ),
    max_size=30,
)


@given(steps)
@settings(deadline=None, max_examples=150)
def test_a_refusal_from_nearby_is_the_stores_unless_somebody_else_gave_back_within_a_second(
    schedule: list[tuple[int, list[Charge], int, int]],
) -> None:
    world = World()
    given_back: dict[bytes, list[tuple[int, int]]] = {}
    for process, charges, gap, travel in schedule:
        world.now += gap
        # Hot keys: whoever is refused asks again at once.
        for _ in range(3):
            admits = world.would_admit(charges)
            outcome, nearby = world.ask(process, charges, travel)
            if nearby:
                assert not outcome.admitted
                assert len(outcome.readings) == len(charges)
                recently = [
                    other
                    for each in charges
                    for moment, other in given_back.get(each.key, ())
                    if world.now - moment <= SECOND + 2 * travel + 4_000
                ]
                assert not admits or any(other != process for other in recently)
            elif outcome.admitted:
                for each in charges:
                    if each.hits < 0:
                        given_back.setdefault(each.key, []).append((world.now, process))


@given(st.sampled_from(LIMITS), st.integers(1, 200), st.integers(0, 2_000), st.integers(0, 3 * SECOND))
@settings(deadline=None, max_examples=150)
def test_what_a_process_gives_back_or_what_a_limit_is_raised_by_is_there_at_once(
    limit: Limit, hits: int, travel: int, gap: int
) -> None:
    world = World()
    one = Charge(b"k", limit)
    while world.ask(0, [one], 0)[0].admitted:
        pass
    refused, nearby = world.ask(0, [one], travel)
    assert nearby or world.would_admit([one]) or refused.admitted
    world.ask(0, [Charge(b"k", limit, -hits)], travel)
    world.now += gap
    admits = world.would_admit([one])
    outcome, nearby = world.ask(0, [one], 0)
    assert not nearby
    assert outcome.admitted == admits


def test_another_figure_is_not_judged_by_what_was_refused_under_the_last() -> None:
    world = World()
    for limit in (FixedWindow(1, MINUTE), FixedWindow(2, MINUTE), FixedWindow(3, MINUTE)):
        outcomes = [world.ask(0, [Charge(b"k", limit)], 100) for _ in range(3)]
        assert [(outcome.admitted, nearby) for outcome, nearby in outcomes] == [
            (True, False),
            (False, False),
            (False, True),
        ]


def test_nothing_is_believed_for_longer_than_a_second_or_beyond_its_number() -> None:
    world = World()
    limit = FixedWindow(0, MINUTE)
    assert [world.ask(0, [Charge(b"k", limit)], 0)[1] for _ in range(2)] == [False, True]
    world.now += SECOND
    assert world.ask(0, [Charge(b"k", limit)], 0)[1]
    world.now += 1
    assert not world.ask(0, [Charge(b"k", limit)], 0)[1]
    small = NearCache(most=10)
    for number in range(1000):
        small.learn([Charge(b"%d" % number, limit)], Outcome(False, [(False, 0, -1, 0)]), START, 0)
    assert len(small._young) + len(small._old) <= 10


def test_a_wait_that_is_told_nearby_grows_shorter_as_time_passes() -> None:
    world = World()
    one = Charge(b"k", FixedWindow(1, MINUTE))
    assert world.ask(0, [one], 0)[0].admitted
    first, _ = world.ask(0, [one], 0)
    world.now += SECOND // 2
    second, nearby = world.ask(0, [one], 0)
    assert nearby
    assert first.readings[0][2] - second.readings[0][2] == SECOND // 2
