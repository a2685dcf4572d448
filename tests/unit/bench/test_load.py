"""What `make load` offers and what it says of the answers; the load itself is in tests/e2e/test_load.py."""

import math
from itertools import pairwise

import pytest

from bench.load.arrivals import arrivals
from bench.load.figures import Result, Samples, quantile, result_of, table
from bench.load.scenarios import SCENARIOS


def test_requests_are_due_at_the_rate_and_not_in_step() -> None:
    moments = list(arrivals(6_000, 60))
    assert moments == sorted(moments)
    assert all(0 < moment < 60 for moment in moments)
    # Six thousand, within four standard deviations of a Poisson process.
    assert abs(len(moments) - 6_000) < 4 * math.sqrt(6_000)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert sum(gap > 0.02 for gap in gaps) / len(gaps) == pytest.approx(math.exp(-2), abs=0.02)
    assert list(arrivals(6_000, 60)) == moments
    assert list(arrivals(6_000, 60, seed=2)) != moments


@pytest.mark.parametrize(("rate", "seconds"), [(0, 1), (-1, 1), (1, 0)])
def test_nothing_is_no_load(rate: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="more than nothing"):
        next(arrivals(rate, seconds))


def test_a_quantile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert quantile([7.0], 0.01) == 7.0
    assert math.isnan(quantile([], 0.5))


def result(target: float | None = 200.0, **answers: int) -> Result:
    samples = Samples()
    for status, count in answers.items():
        for _ in range(count):
            samples.offered += 1
            samples.add(100.0, 0.1, int(status[1:]), "" if status == "s200" else f"{status[1:]} why")
    return result_of("x", samples, 60.0, target)


@pytest.mark.requirement("R98", "R99", "R100")
def test_a_target_is_met_or_it_is_said_what_is_not() -> None:
    assert result(s200=1_000).verdict == "met"
    # What limits refuse is told apart, and is no failure.
    limited = result(s200=500, s429=500)
    assert (limited.verdict, limited.limited, limited.failed) == ("met", 500, 0)
    assert result(99.0, s200=10).verdict == "p95 100 ms is above 99 ms"
    failed = result(None, s200=990, s503=8, s0=2)
    assert failed.verdict == "10 of 1000 failed"
    assert failed.whys == {"503 why": 8, "0 why": 2}
    slow = Samples(offered=1_000)
    slow.add(1.0, 0.0, 200)
    assert "only 1 of 1000 a minute were answered" in result_of("x", slow, 60.0, None).verdict
    assert not result_of("x", slow, 60.0, None).is_met


def test_the_table_names_what_failed_and_a_client_that_was_late() -> None:
    samples = Samples(offered=2)
    samples.add(100.0, 90.0, 200)
    samples.add(100.0, 90.0, 503, "503 upstream_unavailable")
    text = table([result_of("spike", samples, 60.0, 500.0)])
    assert "1 x 503 upstream_unavailable" in text
    assert "the client itself was late: 99 of 100 requests left within 90.0 ms" in text
    heads, line, *_ = text.splitlines()
    assert len(heads) == len(line)


@pytest.mark.requirement("R98", "R99")
def test_scenarios_are_those_that_were_asked_for() -> None:
    asked = {name: (one.per_minute, one.target) for name, one in SCENARIOS.items()}
    assert asked["sustained"] == (1_000, 200)
    assert asked["spike"] == (5_000, 500)
    assert asked["agents"] == (10_000, None)
