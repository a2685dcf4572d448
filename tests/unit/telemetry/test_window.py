"""The last minute is the last minute: what is older has gone, and nothing is averaged over more."""

from dataclasses import replace

import pytest

from telemetry.access_log.window import Window
from tests.unit.telemetry.test_usage import RECORD


class Moved:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Moved:
    return Moved()


def test_it_has_what_came_in_sixty_seconds_and_nothing_else(clock: Moved) -> None:
    window = Window(clock)
    for second in range(300):
        clock.now = 1_700_000_000.0 + second
        window.count(replace(RECORD, at=clock.now, status=500 if second % 10 == 0 else 200))
    shown = window.last_minute("marketing")
    assert (shown.requests, shown.failed, shown.error_rate) == (60, 6, 0.1)
    assert shown.p50 == pytest.approx(12.0, rel=0.05)
    clock.now += 30
    assert window.last_minute("marketing").requests == 30
    clock.now += 31
    assert window.last_minute("marketing").requests == 0


@pytest.mark.parametrize("ago", [-5.0, 60.0, 61.0, 100_000.0])
def test_what_came_at_another_time_is_not_in_it(clock: Moved, ago: float) -> None:
    window = Window(clock)
    window.count(replace(RECORD, at=clock.now - ago))
    assert window.last_minute("marketing").requests == 0


def test_gateways_are_apart_and_bounded(clock: Moved) -> None:
    window = Window(clock)
    for number in range(1000):
        window.count(replace(RECORD, at=clock.now, gateway=f"g-{number}"))
    assert window.last_minute("g-1").requests == 1
    assert len(window.gateways) == 65
    assert window.last_minute("others").requests == 936


def test_without_requests_there_are_no_figures(clock: Moved) -> None:
    shown = Window(clock).last_minute("marketing")
    assert (shown.requests, shown.error_rate, shown.p50, shown.p95, shown.p99) == (0, 0.0, None, None, None)
