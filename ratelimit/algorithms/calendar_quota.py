"""So many per day, week or month, as the calendar of a time zone has them: a day may have 23 or 25 hours."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ratelimit.algorithms.fixed_window import count_in
from ratelimit.algorithms.step import State, Step

_SECOND = 1_000_000
# Zones move by multiples of a quarter of an hour, so a period that holds at one moment of a quarter holds at all.
_QUARTER = 900 * _SECOND


class Period(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class CalendarQuota:
    """At most `amount` hits in each calendar `period` of `zone` (an IANA name). Weeks begin on Monday (ISO 8601).

    A state is (end of its period, hits). Raises ValueError for a zone that does not exist.
    """

    # Which clock counts: this is aligned to the wall clock.
    STEADY: ClassVar[bool] = False

    amount: int
    period: Period
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"a quota needs amount >= 0: {self}")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, OSError) as error:
            raise ValueError(f"there is no time zone {self.zone!r}") from error

    def bounds(self, now: int) -> tuple[int, int]:
        """Begin and end of the period that holds `now`, in microseconds since the epoch."""
        start, end = _bounds(self.period, self.zone, now // _QUARTER)
        return (start, end) if start <= now < end else _period(self.period, self.zone, now)

    def step(self, state: State, now: int, hits: int) -> Step:
        start, end = self.bounds(now)
        return count_in(self.amount, end, end - start, state, now, hits)


@lru_cache(maxsize=1024)
def _bounds(period: Period, zone: str, quarter: int) -> tuple[int, int]:
    return _period(period, zone, quarter * _QUARTER)


def _period(period: Period, zone: str, now: int) -> tuple[int, int]:
    local = datetime.fromtimestamp(now // _SECOND, ZoneInfo(zone))
    first = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period is Period.DAY:
        after = first + timedelta(days=1)
    elif period is Period.WEEK:
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    else:
        first = first.replace(day=1)
        after = (first + timedelta(days=31)).replace(day=1)
    # Arithmetic above is on the wall clock; each midnight then has the offset of its own day.
    return _microseconds(first), _microseconds(after)


def _microseconds(local: datetime) -> int:
    return int(local.astimezone(UTC).timestamp()) * _SECOND
