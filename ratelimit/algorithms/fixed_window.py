"""So many per window, windows being aligned to the clock: simple, what the peers do, and up to twice as many around an
edge. It is the default for plain limits because people expect its figures.
"""

from dataclasses import dataclass
from typing import ClassVar

from ratelimit.algorithms.step import NEVER, State, Step


def count_in(amount: int, end: int, span: int, state: State, now: int, hits: int) -> Step:
    """A step in the window that ends at `end` and is `span` long. A state is (end of its window, hits)."""
    count = 0
    if state and now < state[0] <= end + 2 * span:
        # A later end than this window's means that the clock went back, or the zone changed: keep to it, so that no
        # window is granted twice.
        count = state[1]
        if state[0] > end:
            end = state[0]
    wanted = hits or 1
    if count + wanted > amount and wanted > 0:
        retry = end - now if wanted <= amount else NEVER
        return (False, amount - count if count < amount else 0, retry, end - now if count else 0, state)
    if hits:
        count += hits
        if count < 0:
            count = 0
        state = (end, count)
    return (True, amount - count if count < amount else 0, 0, end - now if count else 0, state)


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """At most `amount` hits (0: none at all) in each window of `period` microseconds since the epoch."""

    # Which clock counts: this is aligned to the wall clock.
    STEADY: ClassVar[bool] = False

    amount: int
    period: int

    def __post_init__(self) -> None:
        if self.amount < 0 or self.period < 1:
            raise ValueError(f"a window needs amount >= 0 and period >= 1: {self}")

    def step(self, state: State, now: int, hits: int) -> Step:
        return count_in(self.amount, now - now % self.period + self.period, self.period, state, now, hits)
