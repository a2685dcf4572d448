"""A question as the service understands it, whatever the wire looks like."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

# (key, value) pairs, in the order in which rules are nested.
Entries: TypeAlias = tuple[tuple[str, str], ...]

_SECOND = 1_000_000


class Unit(StrEnum):
    """A unit of time. Where a window, and not the calendar, is counted, a month has 30 days and a year 365."""

    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"

    @property
    def microseconds(self) -> int:
        return _MICROSECONDS[self]


_MICROSECONDS = {
    Unit.SECOND: _SECOND,
    Unit.MINUTE: 60 * _SECOND,
    Unit.HOUR: 3600 * _SECOND,
    Unit.DAY: 86_400 * _SECOND,
    Unit.WEEK: 7 * 86_400 * _SECOND,
    Unit.MONTH: 30 * 86_400 * _SECOND,
    Unit.YEAR: 365 * 86_400 * _SECOND,
}


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that comes with the request, instead of the one that a rule of its domain would have: a fixed window."""

    amount: int
    unit: Unit


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What is limited, and by how many hits: 0 only asks, negative gives back."""

    entries: Entries
    hits: int = 1
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class Request:
    domain: str
    descriptors: tuple[Descriptor, ...]
