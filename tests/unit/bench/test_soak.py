"""What a soak says has grown, and what it takes for noise."""

import random

import pytest

from bench.soak import MOST_MIB, Growth, Sample, growths, slope, thirds

HOUR = 3_600.0


def samples(mib: float, grows: float = 0.0, files: float = 0.0, noise: float = 0.0) -> list[Sample]:
    """A minute apart, for an hour; `grows` and `files` an hour."""
    drawn = random.Random(1)
    return [
        Sample(60.0 * n, mib + grows * n / 60 + drawn.uniform(-noise, noise), int(20 + files * n / 60), 4)
        for n in range(60)
    ]


def test_a_slope_is_an_hours_growth_and_no_peak_moves_it() -> None:
    points = [(60.0 * n, 2.0 * n) for n in range(60)]
    assert slope(points) == pytest.approx(120.0)
    points[30] = (1_800.0, 1e9)
    assert slope(points) == pytest.approx(120.0)
    assert slope([]) == slope([(1.0, 5.0)]) == 0.0


@pytest.mark.parametrize(
    ("noted", "what"),
    [
        (samples(100.0, noise=5.0), ""),
        (samples(100.0, grows=MOST_MIB / 2), ""),
        (samples(100.0, grows=2 * MOST_MIB, noise=3.0), "memory"),
        # A tenth of what there is an hour is noise where there is much.
        (samples(1_000.0, grows=2 * MOST_MIB), ""),
        (samples(100.0, files=60.0), "file descriptors"),
    ],
)
def test_what_grows_is_named_and_noise_is_not(noted: list[Sample], what: str) -> None:
    (found,) = growths({"one": noted}, HOUR)
    assert found.what == what


def test_what_grows_at_first_alone_and_what_has_ended_says_nothing() -> None:
    early = [Sample(60.0 * n, min(n, 15) * 50.0, 20, 4) for n in range(60)]
    gone = samples(10.0, grows=900.0)[:15]
    (found,) = growths({"early": early, "gone": gone}, HOUR)
    assert (found.name, found.what) == ("early", "")


def test_threads_are_counted_too() -> None:
    assert Growth("x", 1.0, 0.0, 0.0, 9.0).what == "threads"


def test_the_first_and_the_last_third_are_held_against_each_other() -> None:
    took = [(float(at), 10.0 if at < 2_400 else 30.0) for at in range(3_600)]
    assert thirds(took, HOUR) == (10.0, 30.0)
