"""What every algorithm returns."""

from typing import Final, TypeAlias

# A counter. Empty: never used. Else the first number is the moment, in microseconds of the limit's clock, from which
# the state is worth nothing, so that a store may forget it then without anybody being able to tell.
State: TypeAlias = tuple[int, ...]

UNUSED: Final[State] = ()

# retry_after of hits that no amount of waiting makes room for: more than the limit ever admits at once.
NEVER: Final = -1

# Lua's numbers are doubles: whole up to 2**53. One bit is spare, so that a quotient's floor is never rounded up.
LARGEST: Final = 1 << 52

# No wire format carries more hits at once (uint32), and no product below may pass LARGEST by far.
MOST_HITS: Final = (1 << 32) - 1


# A state that reaches further ahead than its limit ever does means that the clock went back, or that the limit was
# made smaller. Up to here (and windows: up to two of them) it is honoured and the wait told is true; beyond, the clock
# was wrong, and the state is forgotten: that costs one budget, where honouring it could lock callers out for years.
CLOCK_SLACK: Final = 60_000_000

# One decision, as a plain tuple because one is made for every limit of every request:
#
# admitted: whether the hits pass. Asking with 0 hits charges nothing and says whether a single hit would pass;
#     negative hits give back and always pass.
# remaining: single hits that would still pass at this very moment, after this step.
# retry_after: microseconds after which the same hits would pass if nobody else came; 0 if admitted, or NEVER.
# reset_after: microseconds after which the counter is as if never used.
# state: the counter afterwards; the given one if refused.
Step: TypeAlias = tuple[bool, int, int, int, State]
