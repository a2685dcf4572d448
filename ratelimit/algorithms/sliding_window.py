"""So many in any window, wherever it begins: a log of arrivals, thinned so that its size is bounded.

The usual shortcut, a weighted sum of this window's count and the last one's, admits almost twice the amount when the
last window's hits came at its end. This log never admits more than `amount` in any window of `period`.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from ratelimit.algorithms.step import NEVER, State, Step

# Arrivals that are remembered one by one. A larger amount is remembered in as many steps of time, rounded up: never
# too many pass, and a hit may wait for 1/64 of the window longer than an endless log would ask.
ENTRIES = 64


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """At most `amount` hits in any `period` microseconds.

    A state is (leaves, hits, leaves, hits, ...), newest first; `leaves` is when those hits leave the window.
    """

    # Which clock counts: this measures durations, which no step of the wall clock may bend.
    STEADY: ClassVar[bool] = True

    amount: int
    period: int
    resolution: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.amount < 0 or self.period < 1:
            raise ValueError(f"a window needs amount >= 0 and period >= 1: {self}")
        exact = self.amount <= ENTRIES
        object.__setattr__(self, "resolution", 1 if exact else -(-self.period // ENTRIES))

    def step(self, state: State, now: int, hits: int) -> Step:
        leaves = now + self.resolution - 1
        leaves += self.period - leaves % self.resolution
        log = _live(state, now, leaves + self.period)
        used = sum(count for _, count in log)
        wanted = hits or 1
        if used + wanted > self.amount and wanted > 0:
            return (False, max(self.amount - used, 0), self._wait(log, used, now, wanted), _reset(log, now), state)
        if hits > 0:
            if log and log[0][0] >= leaves:
                log[0] = (log[0][0], log[0][1] + hits)
            else:
                log.insert(0, (leaves, hits))
        elif hits < 0:
            _give_back(log, -hits)
        if hits:
            used = max(used + hits, 0)
            # A log that a refund emptied is written as one that ends now: a counter in use is never empty.
            state = tuple(number for entry in log for number in entry) or (now, 0)
        return (True, max(self.amount - used, 0), 0, _reset(log, now), state)

    def _wait(self, log: list[tuple[int, int]], used: int, now: int, wanted: int) -> int:
        if wanted > self.amount:
            return NEVER
        for leaves, count in reversed(log):
            used -= count
            if used + wanted <= self.amount:
                return leaves - now
        return NEVER


def _live(state: State, now: int, latest: int) -> list[tuple[int, int]]:
    log: list[tuple[int, int]] = []
    for index in range(0, len(state), 2):
        if state[index] <= now:
            break
        # What leaves later than `latest` was written by a clock that was wrong.
        if state[index] <= latest:
            log.append((state[index], state[index + 1]))
    return log


def _give_back(log: list[tuple[int, int]], hits: int) -> None:
    while log and hits > 0:
        leaves, count = log.pop(0)
        if count > hits:
            log.insert(0, (leaves, count - hits))
        hits -= count


def _reset(log: list[tuple[int, int]], now: int) -> int:
    return log[0][0] - now if log else 0
