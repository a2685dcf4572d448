"""What lua/charge.lua is told, and what it says."""

from collections.abc import Sequence

import orjson

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow
from ratelimit.store import Charge, Outcome


def call_of(requests: Sequence[Sequence[Charge]], now: int) -> tuple[list[bytes], bytes]:
    """KEYS and ARGV[1]. `now`: the server's clock, as well as it is known here."""
    keys: dict[bytes, int] = {}
    numbers: dict[int, int] = {}
    limits: list[list[str | int]] = []
    encoded: list[list[int]] = []
    for charges in requests:
        request: list[int] = []
        for charge in charges:
            limit = charge.limit
            number = numbers.get(id(limit))
            if number is None:
                limits.append(_encoded(limit, now))
                number = numbers[id(limit)] = len(limits)
            key = keys.setdefault(charge.key, len(keys) + 1)
            request += (key, number, charge.hits, charge.enforced)
        encoded.append(request)
    return list(keys), orjson.dumps([limits, encoded])


def _encoded(limit: Limit, now: int) -> list[str | int]:
    match limit:
        case Gcra():
            return ["g", limit.grain, limit.spacing, limit.capacity]
        case FixedWindow():
            return ["f", limit.amount, limit.period]
        case SlidingWindow():
            return ["s", limit.amount, limit.period, limit.resolution]
        case CalendarQuota():
            return ["q", limit.amount, *limit.bounds(now)]


def outcomes_of(requests: Sequence[Sequence[Charge]], reply: Sequence[int]) -> list[Outcome]:
    """An outcome per request; `reply` begins with the server's clock."""
    at, outcomes = 1, []
    for charges in requests:
        admitted, readings = reply[at] == 1, []
        at += 1
        for _ in charges:
            readings.append((reply[at] == 1, reply[at + 1], reply[at + 2], reply[at + 3]))
            at += 4
        outcomes.append(Outcome(admitted, readings))
    return outcomes
