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
        log = state
        if log and (log[-2] <= now or log[0] > leaves + self.period or not log[1]):
            log = _live(log, now, leaves + self.period)
        used = sum(log[1::2])
        wanted = hits or 1
        if used + wanted > self.amount and wanted > 0:
            return (False, max(self.amount - used, 0), self._wait(log, used, now, wanted), _reset(log, now), state)
        if hits:
            if hits > 0:
                # Newest first: this hit's own moment, unless the clock went back, or the last hit has the same one.
                same = log and log[0] >= leaves
                log = (log[0], log[1] + hits, *log[2:]) if same else (leaves, hits, *log)
            else:
                log = _given_back(log, -hits)
            used += hits
            if used < 0:
                used = 0
            # A log that a refund emptied is written as one that ends now: a counter in use is never empty.
            state = log or (now, 0)
        left = self.amount - used
        return (True, left if left > 0 else 0, 0, log[0] - now if log else 0, state)

    def _wait(self, log: State, used: int, now: int, wanted: int) -> int:
        if wanted > self.amount:
            return NEVER
        for index in range(len(log) - 2, -1, -2):
            used -= log[index + 1]
            if used + wanted <= self.amount:
                return log[index] - now
        return NEVER


def _live(log: State, now: int, latest: int) -> State:
    first, last = 0, len(log)
    while last and log[last - 2] <= now:
        last -= 2
    # What leaves later than `latest` was written by a clock that was wrong; no hits are those of an emptied log.
    while first < last and (log[first] > latest or not log[first + 1]):
        first += 2
    return log[first:last]


def _given_back(log: State, hits: int) -> State:
    """The log without that many of its newest hits."""
    first = 0
    while first < len(log) and log[first + 1] <= hits:
        hits -= log[first + 1]
        first += 2
    if first == len(log) or not hits:
        return log[first:]
    return (log[first], log[first + 1] - hits, *log[first + 2 :])


def _reset(log: State, now: int) -> int:
    return log[0] - now if log else 0
