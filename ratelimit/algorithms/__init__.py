"""The ways to count, as pure steps: `limit.step(state, now, hits)` gives the decision and the next state.

All times are whole microseconds and all quantities whole numbers below 2**52, so that the same steps in Lua, whose
only numbers are doubles, come to the same answers (`ratelimit/lua/charge.lua`; proven by a property test).
"""

from ratelimit.algorithms.calendar_quota import CalendarQuota, Period
from ratelimit.algorithms.fixed_window import FixedWindow
from ratelimit.algorithms.gcra import Gcra
from ratelimit.algorithms.sliding_window import SlidingWindow
from ratelimit.algorithms.step import NEVER, UNUSED, State, Step

# Whatever a counter can be charged under.
Limit = Gcra | FixedWindow | SlidingWindow | CalendarQuota

__all__ = [
    "NEVER",
    "UNUSED",
    "CalendarQuota",
    "FixedWindow",
    "Gcra",
    "Limit",
    "Period",
    "SlidingWindow",
    "State",
    "Step",
]
