"""Counters in this process: exact for one process, atomic because nothing here awaits."""

import heapq
import time
from collections.abc import Callable, Sequence

from ratelimit.algorithms import UNUSED, Limit, State
from ratelimit.store import Charge, Loss, Outcome, Reading, Unavailable

# Expired counters are looked for in slots of about a second.
_SLOT_BITS = 20
# Counters looked at for each request that comes: more than one request can add, so that the rest never piles up.
_SWEPT_PER_REQUEST = 16


def steady_microseconds() -> int:
    return time.monotonic_ns() // 1000


def wall_microseconds() -> int:
    return time.time_ns() // 1000


class MemoryStore:
    """At most `max_keys` counters. Only those that are worth nothing any more are dropped: nobody gains by eviction.

    When all are live, a request that needs a new one gets `Unavailable(FULL)`, and its limits' fail mode decides.
    They are kept for `spare` microseconds more, in case the wall clock is set back by less than that.
    """

    def __init__(
        self,
        max_keys: int = 1_000_000,
        steady: Callable[[], int] = steady_microseconds,
        wall: Callable[[], int] = wall_microseconds,
        spare: int = 1_000_000,
    ) -> None:
        self._max_keys = max_keys
        self._steady, self._wall, self._spare = steady, wall, spare
        self._counters: dict[bytes, State] = {}
        self._expiring = _Wheel(self._counters), _Wheel(self._counters)

    def __len__(self) -> int:
        """Counters held, expired ones that no request has swept yet included."""
        return len(self._counters)

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        return self.charge_now((charges,))[0]

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        return self.charge_now(requests)

    def charge_now(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        """`charge_many`, for callers without an event loop. All requests see the same moment."""
        clocks = self._wall(), self._steady()
        for wheel, now in zip(self._expiring, clocks, strict=True):
            wheel.sweep(now - self._spare, _SWEPT_PER_REQUEST * len(requests))
        return [self._charge(charges, clocks) for charges in requests]

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading]:
        clocks = self._wall(), self._steady()
        return [self._reading(charge, clocks) for charge in charges]

    def fill(self, key: bytes, limit: Limit, state: State) -> None:
        """Give a counter this state, unless less is left of the one that it has, or there is no room."""
        now = self._steady() if limit.STEADY else self._wall()
        held = self._counters.get(key, UNUSED)
        if held and limit.step(held, now, 0)[1] <= limit.step(state, now, 0)[1]:
            return
        if not held and len(self._counters) >= self._max_keys:
            return
        if not held:
            self._expiring[limit.STEADY].add(key, state[0])
        self._counters[key] = state

    async def ready(self) -> bool:
        return True

    async def close(self) -> None:
        """Nothing to give back."""

    def _charge(self, charges: Sequence[Charge], clocks: tuple[int, int]) -> Outcome | Unavailable:
        counters, fresh = self._counters, dict[bytes, State]()
        readings: list[Reading] = []
        admitted = True
        for charge in charges:
            key, limit = charge.key, charge.limit
            state = (fresh.get(key) if fresh else None) or counters.get(key, UNUSED)
            step = limit.step(state, clocks[limit.STEADY], charge.hits)
            if step[0]:
                fresh[key] = step[4]
            elif charge.enforced:
                admitted = False
            readings.append(step[:4])
        if not admitted:
            return Outcome(False, self._uncharged(charges, readings, clocks))
        if len(counters) + len(fresh) > self._max_keys and not self._has_room(fresh, clocks):
            return Unavailable(Loss.FULL)
        for charge in charges:
            state = fresh.pop(charge.key, UNUSED)
            if state:
                if charge.key not in counters:
                    self._expiring[charge.limit.STEADY].add(charge.key, state[0])
                counters[charge.key] = state
        return Outcome(True, readings)

    def _uncharged(
        self, charges: Sequence[Charge], readings: Sequence[Reading], clocks: tuple[int, int]
    ) -> list[Reading]:
        """The readings of a refused request: those that were admitted show the counter without the charge."""
        result = []
        for charge, reading in zip(charges, readings, strict=True):
            if reading[0]:
                _, remaining, _, reset_after = self._reading(charge, clocks)
                result.append((True, remaining, 0, reset_after))
            else:
                result.append(reading)
        return result

    def _reading(self, charge: Charge, clocks: tuple[int, int]) -> Reading:
        return charge.limit.step(self._counters.get(charge.key, UNUSED), clocks[charge.limit.STEADY], 0)[:4]

    def _has_room(self, fresh: dict[bytes, State], clocks: tuple[int, int]) -> bool:
        for wheel, now in zip(self._expiring, clocks, strict=True):
            wheel.sweep(now - self._spare, len(self._counters))
        new = sum(1 for key, state in fresh.items() if state and key not in self._counters)
        return len(self._counters) + new <= self._max_keys


class _Wheel:
    """Keys by the slot of time in which their state, as it was when last looked at, becomes worth nothing."""

    def __init__(self, counters: dict[bytes, State]) -> None:
        self._counters = counters
        self._slots: dict[int, list[bytes]] = {}
        self._due: list[int] = []

    def add(self, key: bytes, moment: int) -> None:
        slot = moment >> _SLOT_BITS
        keys = self._slots.get(slot)
        if keys is None:
            self._slots[slot] = [key]
            heapq.heappush(self._due, slot)
        else:
            keys.append(key)

    def sweep(self, now: int, most: int) -> None:
        """Drop what has expired by `now`, looking at no more than `most` keys."""
        current = now >> _SLOT_BITS
        while self._due and self._due[0] < current and most > 0:
            keys = self._slots[self._due[0]]
            while keys and most > 0:
                most -= 1
                key = keys.pop()
                moment = self._counters[key][0]
                if moment < now:
                    del self._counters[key]
                else:
                    self.add(key, moment)
            if not keys:
                del self._slots[heapq.heappop(self._due)]
