"""When requests are due: at their own rate, whatever becomes of those before them.

A client that sends the next request when the last is answered slows down with the server, and measures the wait of the
few that it sent and not of all that would have come ("coordinated omission"). Here each has its moment, and its time is
counted from that moment, also where it left late.
"""

import random
from collections.abc import Iterator


def arrivals(per_minute: float, seconds: float, seed: int = 1) -> Iterator[float]:
    """Moments, in seconds from the start, of a Poisson process: as many independent callers make (RFC 2330 §11.1.1).

    The same for the same seed.
    """
    if per_minute <= 0 or seconds <= 0:
        raise ValueError("a rate and a time are more than nothing")
    drawn = random.Random(seed)
    moment = drawn.expovariate(per_minute / 60)
    while moment < seconds:
        yield moment
        moment += drawn.expovariate(per_minute / 60)
