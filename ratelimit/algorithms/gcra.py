"""The generic cell rate algorithm: a steady rate with a burst, in one timestamp (ATM Forum TM 4.0, §4.4.2).

A hit takes T = period / amount of time. The theoretical arrival time (TAT) runs ahead of the clock by what was used;
n hits pass while max(TAT, now) + nT - now <= tolerance + T. With tolerance = (m - 1) D, a caller at m times the rate
is admitted for exactly D and a caller at the rate is never refused.
"""

from dataclasses import dataclass, field
from math import gcd
from typing import ClassVar

from ratelimit.algorithms.step import LARGEST, NEVER, State, Step


@dataclass(frozen=True, slots=True)
class Gcra:
    """`amount` (>= 1) hits per `period` microseconds, and `tolerance` microseconds ahead of that.

    T is a fraction, `spacing / grain`: everything is counted in grains, 1/grain of a microsecond, and stays exact for
    every rate. A state is (TAT in whole microseconds, grains beyond that).
    """

    # Which clock counts: this measures durations, which no step of the wall clock may bend.
    STEADY: ClassVar[bool] = True

    amount: int
    period: int
    tolerance: int
    spacing: int = field(init=False, repr=False)
    grain: int = field(init=False, repr=False)
    capacity: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.amount < 1 or self.period < 1 or self.tolerance < 0:
            raise ValueError(f"gcra needs amount >= 1, period >= 1, tolerance >= 0: {self}")
        shared = gcd(self.amount, self.period)
        spacing, grain = self.period // shared, self.amount // shared
        finest = (LARGEST - 2 * self.period) // (self.tolerance + 2)
        if finest < 1:
            raise ValueError(f"gcra cannot count a period and tolerance this long: {self}")
        if grain > finest:
            # Beyond 450 million a minute or so, T is rounded up to what a double can hold: strict by under 1 ppm.
            spacing, grain = -(-spacing * finest // grain), finest
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "grain", grain)
        object.__setattr__(self, "capacity", self.tolerance * grain + spacing)

    def step(self, state: State, now: int, hits: int) -> Step:
        grain, spacing, capacity = self.grain, self.spacing, self.capacity
        used = 0
        if state and state[0] >= now:
            tat, beyond = state
            used = (tat - now) * grain + (beyond if beyond < grain else grain)
            if used > capacity:
                # The clock went back, or the tolerance was lowered: no more than a full burst is owed.
                used = capacity
        cost = hits * spacing if hits else spacing
        if used + cost > capacity:
            retry = -((capacity - used - cost) // grain) if cost <= capacity else NEVER
            return False, (capacity - used) // spacing, retry, -(-used // grain), state
        if hits:
            used += cost
            if used < 0:
                used = 0
            state = (now + used // grain, used % grain)
        return True, (capacity - used) // spacing, 0, -(-used // grain), state
