"""What counts while the store is away, for limits that say `on_store_failure: local`.

Each process admits its share of the limit: of R in a window and P processes, R/P rounded down but at least one; of a
rate, the rate and the burst divided by P. It begins where the store was last heard: a caller who had used up half of
the limit has half of the share. While the store is away all processes together admit no more than max(R, P) in a
window, beside what the store had admitted before; what they admit is not charged to the store when it is back.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

from ratelimit.algorithms import UNUSED, CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow, State
from ratelimit.memory_store import MemoryStore, steady_microseconds, wall_microseconds
from ratelimit.store import Charge, Outcome, Reading, Unavailable


class LocalOutcome(Outcome):
    """Counted in the process, at least in part: there is nothing that the store could give back."""

    __slots__ = ()


class LocalLimits:
    """The shares of one process out of `replicas`."""

    def __init__(
        self,
        replicas: int = 1,
        most: int = 100_000,
        steady: Callable[[], int] = steady_microseconds,
        wall: Callable[[], int] = wall_microseconds,
    ) -> None:
        """`most`: counters that are remembered, those last heard of."""
        if replicas < 1:
            raise ValueError("there is at least one process")
        self._replicas, self._most = replicas, most // 2
        self._steady, self._wall = steady, wall
        self._counters = MemoryStore(most, steady, wall)
        self._heard: dict[bytes, tuple[Reading, int]] = {}
        self._heard_before: dict[bytes, tuple[Reading, int]] = {}

    def heard(self, charges: Sequence[Charge], local: Sequence[bool], readings: Sequence[Reading]) -> None:
        """What the store said; `local`: whether it is counted here while the store is away."""
        if len(self._heard) >= self._most:
            self._heard, self._heard_before = {}, self._heard
        moment = self._steady()
        for charge, counted, reading in zip(charges, local, readings, strict=True):
            if counted:
                self._heard[charge.key] = (reading, moment)

    def charge(self, charges: Sequence[Charge], local: Sequence[bool]) -> Outcome | Unavailable:
        """Decide in the store's place. What is not counted here reads as if it was never used."""
        mine = []
        for charge, counted in zip(charges, local, strict=True):
            if counted:
                share = Charge(charge.key, share_of(charge.limit, self._replicas), charge.hits, charge.enforced)
                self._warm(share, charge.limit)
                mine.append(share)
        outcome = self._counters.charge_now((mine,))[0]
        if isinstance(outcome, Unavailable):
            return outcome
        rest = iter(outcome.readings)
        readings = [
            next(rest) if counted else (True, charge.limit.amount, 0, 0)
            for charge, counted in zip(charges, local, strict=True)
        ]
        return LocalOutcome(outcome.admitted, readings)

    def _warm(self, charge: Charge, full: Limit) -> None:
        """Go on from what the store said last, unless more was used here since."""
        heard = self._heard.pop(charge.key, None) or self._heard_before.pop(charge.key, None)
        if heard is None:
            return
        reading, moment = heard
        clock = self._steady() if full.STEADY else self._wall()
        state = _as_left(full, charge.limit, reading, clock, self._steady() - moment, self._replicas)
        if state:
            self._counters.fill(charge.key, charge.limit, state)


def _as_left(full: Limit, share: Limit, reading: Reading, clock: int, ago: int, replicas: int) -> State:
    """The state of a share from the reading, `ago` microseconds old, of the whole."""
    _, remaining, _, reset_after = reading
    left = reset_after - ago
    if left <= 0:
        return UNUSED
    used = -(-max(full.amount - remaining, 0) // replicas)
    match share:
        case Gcra():
            # A hit of the share takes as many times longer as there are processes: what is used takes as long.
            return (clock + left, 0)
        case SlidingWindow():
            return (clock + left, used)
        case FixedWindow() | CalendarQuota():
            # Within the window as this process' clock has it, however the store's may differ.
            return share.step(UNUSED, clock, used)[4] if used <= share.amount else (clock + left, used)


@lru_cache(maxsize=4096)
def share_of(limit: Limit, replicas: int) -> Limit:
    """The limit of one process out of so many."""
    if replicas == 1:
        return limit
    match limit:
        case Gcra():
            # Times as many processes, T + tolerance stays: the burst is divided too, down to one hit each.
            spacing = -(-limit.period // limit.amount)
            tolerance = max(limit.tolerance + spacing - spacing * replicas, 0)
            return Gcra(limit.amount, limit.period * replicas, tolerance)
        case FixedWindow():
            return FixedWindow(_part(limit.amount, replicas), limit.period)
        case SlidingWindow():
            return SlidingWindow(_part(limit.amount, replicas), limit.period)
        case CalendarQuota():
            return CalendarQuota(_part(limit.amount, replicas), limit.period, limit.zone)


def _part(amount: int, replicas: int) -> int:
    return max(amount // replicas, 1) if amount else 0
