"""The burst allowance of R71, figure by figure, as exact rationals give it (docs: the rate matrix)."""

from dataclasses import dataclass

import pytest

from ratelimit.algorithms import NEVER, UNUSED, Gcra, State

SECOND = 1_000_000
MINUTE = 60 * SECOND


@dataclass
class Bucket:
    """One counter, and a clock that the test moves."""

    limit: Gcra
    now: int = 1_764_000_000 * SECOND
    state: State = UNUSED

    def hit(self, hits: int = 1) -> bool:
        admitted, _, _, _, self.state = self.limit.step(self.state, self.now, hits)
        return admitted

    def at_once(self) -> int:
        admitted = 0
        while self.hit():
            admitted += 1
        return admitted

    def retry_after(self, hits: int = 1) -> int:
        return self.limit.step(self.state, self.now, hits)[2]

    def remaining(self) -> int:
        return self.limit.step(self.state, self.now, 0)[1]


def twice_for_ten_seconds(per_minute: int) -> Bucket:
    return Bucket(Gcra(per_minute, MINUTE, 10 * SECOND))


def flood(bucket: Bucket, microseconds: int) -> list[int]:
    """Every moment in [0, microseconds) at which a caller that never stops trying is admitted."""
    start, admitted = bucket.now, []
    while bucket.now - start < microseconds:
        if bucket.hit():
            admitted.append(bucket.now - start)
        else:
            bucket.now += bucket.retry_after()
    return admitted


def most_within(moments: list[int], window: int) -> int:
    first, most = 0, 0
    for last, moment in enumerate(moments):
        while moments[first] < moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


RATES = [100, 500, 1000, 10_000]


def per_rate(*columns: list[int]) -> list[tuple[int, ...]]:
    return list(zip(RATES, *columns, strict=True))


@pytest.mark.requirement("R71")
@pytest.mark.parametrize(("rate", "burst"), per_rate([17, 84, 167, 1667]))
def test_an_idle_caller_may_send_its_burst_at_once(rate: int, burst: int) -> None:
    assert twice_for_ten_seconds(rate).at_once() == burst


@pytest.mark.parametrize(("rate", "milliseconds"), per_rate([200, 80, 20, 2]))
def test_the_first_refusal_says_exactly_when_the_next_hit_passes(rate: int, milliseconds: int) -> None:
    bucket = twice_for_ten_seconds(rate)
    bucket.at_once()
    wait = bucket.retry_after()
    assert wait == milliseconds * 1000
    bucket.now += wait - 1
    assert not bucket.hit()
    bucket.now += 1
    assert bucket.hit()


@pytest.mark.requirement("R71")
@pytest.mark.parametrize(("rate", "number", "moment"), per_rate([35, 168, 335, 3335], [10_200, 10_020, 10_020, 10_002]))
def test_twice_the_rate_is_admitted_for_ten_seconds_and_then_every_second_hit(
    rate: int, number: int, moment: int
) -> None:
    bucket = twice_for_ten_seconds(rate)
    start, pace = bucket.now, MINUTE // (2 * rate)
    outcomes = []
    for index in range(3 * number):
        bucket.now = start + index * pace
        outcomes.append(bucket.hit())
    in_ten_seconds = -(-10 * SECOND // pace)
    assert in_ten_seconds == number - 1
    assert all(outcomes[:in_ten_seconds])
    assert outcomes.index(False) == number - 1
    assert (number - 1) * pace == moment * 1000
    after = outcomes[number - 1 :]
    assert after == [index % 2 == 1 for index in range(len(after))]


@pytest.mark.parametrize(("rate", "burst"), per_rate([26, 126, 251, 2501]))
def test_three_times_the_rate_is_admitted_for_five_seconds(rate: int, burst: int) -> None:
    bucket = twice_for_ten_seconds(rate)
    spacing = MINUTE // rate
    start, admitted = bucket.now, 0
    while bucket.hit():
        admitted += 1
        bucket.now = start + admitted * spacing // 3
    assert admitted == burst == 1 + 10 * SECOND // (spacing - spacing // 3)


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_itself_is_never_refused(rate: int) -> None:
    bucket = twice_for_ten_seconds(rate)
    for _ in range(3 * rate):
        assert bucket.hit()
        bucket.now += MINUTE // rate


@pytest.mark.attack("A62")
@pytest.mark.parametrize(
    ("rate", "ten", "sixty", "in_two_minutes"),
    per_rate([34, 167, 334, 3334], [117, 584, 1167, 11_667], [217, 1084, 2167, 21_667]),
)
def test_a_flood_gets_no_more_than_the_bound_of_any_window(
    rate: int, ten: int, sixty: int, in_two_minutes: int
) -> None:
    moments = flood(twice_for_ten_seconds(rate), 120 * SECOND)
    assert len(moments) == in_two_minutes
    for seconds, most in ((10, ten), (60, sixty)):
        assert most_within(moments, seconds * SECOND) == most == rate * (seconds + 10) // 60 + 1


@pytest.mark.parametrize(("rate", "burst"), per_rate([17, 83, 167, 1667]))
def test_ten_idle_seconds_give_a_drained_caller_its_burst_back(rate: int, burst: int) -> None:
    bucket = twice_for_ten_seconds(rate)
    bucket.at_once()
    bucket.now += 10 * SECOND
    assert bucket.at_once() == burst


@pytest.mark.parametrize(("rate", "burst"), per_rate([17, 84, 167, 1667]))
def test_an_idle_minute_restores_everything(rate: int, burst: int) -> None:
    bucket = twice_for_ten_seconds(rate)
    bucket.at_once()
    bucket.now += 60 * SECOND
    assert bucket.at_once() == burst


def test_a_rate_that_divides_no_microsecond_does_not_drift() -> None:
    bucket = Bucket(Gcra(7, MINUTE, 1))
    start = bucket.now
    for index in range(70_000):
        # The exact moment of hit i is i * 60/7 s; the clock shows the next whole microsecond: hence the tolerance.
        bucket.now = start + -(-index * MINUTE // 7)
        assert bucket.hit()
        assert not bucket.hit()


def test_hits_that_exceed_the_capacity_never_pass_and_cost_nothing() -> None:
    bucket = twice_for_ten_seconds(100)
    assert not bucket.hit(18)
    assert bucket.retry_after(18) == NEVER
    assert bucket.remaining() == 17
    assert bucket.hit(17)


def test_asking_with_no_hits_charges_nothing_and_is_refused_when_nothing_is_left() -> None:
    bucket = twice_for_ten_seconds(100)
    assert bucket.hit(0)
    assert bucket.state == UNUSED
    assert bucket.at_once() == 17
    assert not bucket.hit(0)
    assert bucket.retry_after(0) == 200_000


def test_a_refund_gives_back_what_was_taken_and_no_more() -> None:
    bucket = twice_for_ten_seconds(100)
    assert bucket.hit(10)
    assert bucket.remaining() == 7
    assert bucket.hit(-4)
    assert bucket.remaining() == 11
    assert bucket.hit(-1000)
    assert bucket.remaining() == 17


def test_a_refund_passes_also_where_a_lowered_limit_has_no_room() -> None:
    bucket = twice_for_ten_seconds(100)
    bucket.at_once()
    bucket.limit = Gcra(100, MINUTE, SECOND)
    assert not bucket.hit(1)
    assert bucket.hit(-1)
    assert bucket.retry_after() == 9_200_000 - 600_000
    bucket.limit = twice_for_ten_seconds(100).limit
    assert bucket.remaining() == 1


@pytest.mark.attack("A64")
def test_a_clock_that_steps_back_grants_no_second_burst_and_tells_the_true_wait() -> None:
    bucket = twice_for_ten_seconds(100)
    bucket.at_once()
    bucket.now -= 5 * SECOND
    assert bucket.at_once() == 0
    assert bucket.retry_after() == 5_200_000
    bucket.now += bucket.retry_after()
    assert bucket.at_once() == 1


def test_a_clock_that_was_an_hour_ahead_costs_one_burst_and_locks_nobody_out() -> None:
    bucket = twice_for_ten_seconds(100)
    bucket.at_once()
    bucket.now -= 3600 * SECOND
    assert bucket.at_once() == 17
    assert bucket.retry_after() == 200_000


def test_a_changed_rate_keeps_the_share_that_was_used() -> None:
    bucket = twice_for_ten_seconds(100)
    bucket.at_once()
    bucket.limit = Gcra(200, MINUTE, 10 * SECOND)
    assert bucket.remaining() == 0
    bucket.now += 5 * SECOND
    assert bucket.at_once() == 17
    bucket.limit = Gcra(100, MINUTE, 10 * SECOND)
    assert bucket.remaining() == 0


def test_a_burst_made_smaller_is_owed_in_full() -> None:
    bucket = twice_for_ten_seconds(100)
    bucket.at_once()
    bucket.limit = Gcra(100, MINUTE, SECOND)
    assert bucket.at_once() == 0
    assert bucket.retry_after() == 9_200_000
    bucket.now += bucket.retry_after()
    assert bucket.at_once() == 1


@pytest.mark.parametrize("rate", [1, 3, 7, 99_999, 999_999_937, 1_000_000_000])
def test_every_rate_stays_within_the_whole_numbers_of_a_double(rate: int) -> None:
    for tolerance in (0, 10 * SECOND, 99 * 3600 * SECOND):
        limit = Gcra(rate, MINUTE, tolerance)
        assert limit.capacity <= 2**52
        # Never looser than written, and stricter by less than a part in five hundred where it cannot be exact.
        exact, used = MINUTE * limit.grain, limit.spacing * rate
        assert exact <= used <= exact + exact // 500


@pytest.mark.parametrize("wrong", [(0, MINUTE, 0), (1, 0, 0), (1, MINUTE, -1), (1, 2**60, 2**60)])
def test_a_limit_that_cannot_be_counted_is_refused_when_it_is_made(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="gcra"):
        Gcra(*wrong)
