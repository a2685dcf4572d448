"""Durations in buckets: what a quantile read from them is worth, and that they can be added."""

import math

from hypothesis import given
from hypothesis import strategies as st

from telemetry.access_log.histogram import Histogram, bucket, count, from_text, merged, quantile, to_text

DURATIONS = st.floats(min_value=0.01, max_value=1e6)
# Half a bucket: 2^(1/16).
OFF = 2 ** (1 / 16)


def counted(durations: list[float]) -> Histogram:
    counts: Histogram = {}
    for one in durations:
        count(counts, one)
    return counts


@given(st.lists(DURATIONS, min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_off_by_at_most_half_a_bucket(durations: list[float], share: float) -> None:
    exact = sorted(durations)[max(math.ceil(share * len(durations)), 1) - 1]
    found = quantile(counted(durations), share)
    assert found is not None
    assert exact / OFF * 0.9999 <= found <= exact * OFF * 1.0001


@given(st.lists(DURATIONS), st.lists(DURATIONS))
def test_the_sum_of_two_is_that_of_all(some: list[float], others: list[float]) -> None:
    assert merged([counted(some), counted(others)]) == counted(some + others)


@given(st.lists(DURATIONS))
def test_what_is_written_is_read_again(durations: list[float]) -> None:
    assert from_text(to_text(counted(durations))) == counted(durations)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert to_text({}) == ""
    assert from_text("") == {}


def test_what_is_out_of_bounds_is_in_the_last_bucket() -> None:
    assert bucket(0.0) == bucket(-1.0) == bucket(1e-9)
    assert bucket(1e12) == bucket(1e15)
