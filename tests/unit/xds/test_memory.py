"""When memory goes back to the system."""

from collections.abc import Callable

from xds.memory import Reclaim, give_back


class Clock:
    def __init__(self) -> None:
        self.timers: list[Callable[[], None]] = []
        self.given_back = 0

    def after(self, _: float, do: Callable[[], None]) -> None:
        self.timers.append(do)

    def strike(self) -> None:
        timers, self.timers = self.timers, []
        for do in timers:
            do()

    def give_back(self) -> None:
        self.given_back += 1


def test_after_a_storm_memory_is_given_back_once_it_has_calmed_down() -> None:
    clock = Clock()
    reclaim = Reclaim(clock.after, clock.give_back)
    for _ in range(150):
        reclaim.started()
    clock.strike()
    assert clock.given_back == 0
    clock.strike()
    assert clock.given_back == 1
    clock.strike()
    assert clock.given_back == 1


def test_a_few_streams_are_not_worth_it() -> None:
    clock = Clock()
    reclaim = Reclaim(clock.after, clock.give_back)
    for _ in range(99):
        reclaim.started()
    assert clock.timers == []


def test_giving_back_is_safe_wherever_it_is_called() -> None:
    give_back()
