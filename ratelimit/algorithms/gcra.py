"""The generic cell rate algorithm: a steady rate with a burst, in one timestamp (ATM Forum TM 4.0, §4.4.2).

A hit takes T = period / amount of time. The theoretical arrival time (TAT) runs ahead of the clock by what was used;
n hits pass while max(TAT, now) + nT - now <= tolerance + T. With tolerance = (m - 1) D, a caller at m times the rate
is admitted for exactly D and a caller at the rate is never refused.
"""

from dataclasses import dataclass, field
from math import gcd
from typing import ClassVar

from ratelimit.algorithms.step import CLOCK_SLACK, LARGEST, NEVER, State, Step


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
        finest = (LARGEST - 2 * self.period) // (self.tolerance + CLOCK_SLACK + 2)
        if finest < 1:
            raise ValueError(f"gcra cannot count a period and tolerance this long: {self}")
        if grain > finest:
            # Beyond tens of millions a minute, T is rounded up to what a double can hold: never looser than written.
            spacing, grain = -(-spacing * finest // grain), finest
        object.__setattr__(self, "spacing", spacing)
        object.__setattr__(self, "grain", grain)
        object.__setattr__(self, "capacity", self.tolerance * grain + spacing)

    def step(self, state: State, now: int, hits: int) -> Step:
        grain, spacing, capacity = self.grain, self.spacing, self.capacity
        used = 0
        if state and state[0] >= now:
            tat, beyond = state
            if (tat - now - CLOCK_SLACK) * grain <= capacity:
                # Grains of another rate are no more than a microsecond of this one.
                used = (tat - now) * grain + (beyond if beyond < grain else grain)
        room = capacity - used
        cost = hits * spacing if hits else spacing
        # What is given back has room always, also where a limit that was lowered has none.
        if cost > room and cost > 0:
            retry = -((room - cost) // grain) if cost <= capacity else NEVER
            return False, room // spacing if room > 0 else 0, retry, -(-used // grain), state
        if hits:
            used += cost
            if used < 0:
                used = 0
            state = (now + used // grain, used % grain)
        return True, (capacity - used) // spacing if used < capacity else 0, 0, -(-used // grain), state
