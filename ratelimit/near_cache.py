"""Counters that have just refused, so that who is refused again and again costs the store nothing.

A counter only fills up while time stands still for it: if even the state in which the store refused would refuse now,
the store would refuse too, whoever else was admitted meanwhile. Three things empty a counter: time, which is reckoned
with by the store's clock; hits that this process gives back, which are forgotten at once; hits that another process
gives back (or a store that lost its memory), which are not heard of, so that nothing here is older than `age`.
Nothing is ever admitted here.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ratelimit.algorithms import NEVER, UNUSED, CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow, State
from ratelimit.store import Charge, Outcome, Reading

SECOND: Final = 1_000_000


class _Seen(NamedTuple):
    """A counter that was part of a refusal: at least this full, as of `moment` on our steady clock."""

    limit: Limit
    state: State
    refused: bool
    moment: int


class NearCache:
    """Times are microseconds: `now` of the store's clock, `moment` of a steady clock of this process."""

    def __init__(self, age: int = SECOND, most: int = 65_536) -> None:
        """At most `most` counters, none of them believed for longer than `age`."""
        self._age, self._most = age, most // 2
        self._young: dict[bytes, _Seen] = {}
        self._old: dict[bytes, _Seen] = {}
        # Requests that were refused here.
        self.refusals = 0

    def refusal(self, charges: Sequence[Charge], now: int, moment: int) -> Outcome | None:
        """The refusal that the store would give; None where it has to be asked.

        `now` may be ahead of the store's clock, and must not be behind it: what refuses later refuses earlier.
        """
        seen: list[_Seen] = []
        for charge in charges:
            one = self._young.get(charge.key) or self._old.get(charge.key)
            if one is None or moment - one.moment > self._age or charge.hits < 0:
                return None
            # Other figures: what they make of the counter is for the store to say.
            if one.limit is not charge.limit and one.limit != charge.limit:
                return None
            seen.append(one)
        refused = False
        readings: list[Reading] = []
        for charge, one in zip(charges, seen, strict=True):
            step = one.limit.step(one.state, now, charge.hits)
            if one.refused and not step[0]:
                refused = refused or charge.enforced
                readings.append(step[:4])
            else:
                _, remaining, _, reset_after, _ = one.limit.step(one.state, now, 0)
                readings.append((True, remaining, 0, reset_after))
        if not refused:
            return None
        self.refusals += 1
        return Outcome(False, readings)

    def learn(self, charges: Sequence[Charge], outcome: Outcome, now: int, moment: int) -> None:
        """What the store said at `now` of its clock to what was asked at `moment` of ours."""
        if outcome.admitted:
            for charge in charges:
                if charge.hits < 0:
                    self._young.pop(charge.key, None)
                    self._old.pop(charge.key, None)
            return
        # A counter charged twice was read as if the first charge had been made, which it was not.
        if len(charges) > 1 and len({charge.key for charge in charges}) < len(charges):
            return
        if len(self._young) >= self._most:
            self._young, self._old = {}, self._young
        for charge, reading in zip(charges, outcome.readings, strict=True):
            state = at_least(charge.limit, charge.hits, reading, now)
            self._young[charge.key] = _Seen(charge.limit, state, not reading[0], moment)

    def forget(self) -> None:
        """Believe nothing any more: the store was away, and may have forgotten too."""
        self._young, self._old = {}, {}


def at_least(limit: Limit, hits: int, reading: Reading, now: int) -> State:
    """A state that is no fuller than the one which was read, and refuses what it refused for as long."""
    admitted, remaining, retry_after, reset_after = reading
    if reset_after <= 0:
        return UNUSED
    match limit:
        case Gcra():
            # It was rounded up to the microsecond.
            return (now + reset_after - 1, 0)
        case FixedWindow() | CalendarQuota():
            return (now + reset_after, limit.amount - remaining)
        case SlidingWindow():
            if admitted or retry_after == NEVER:
                return (now + reset_after, limit.amount - remaining)
            # Until `retry_after` so many hits stay that these have no room; the youngest of them for longer.
            staying = limit.amount - (hits or 1) + 1
            if retry_after >= reset_after or staying == 1:
                return (now + retry_after, staying)
            return (now + reset_after, 1, now + retry_after, staying - 1)
