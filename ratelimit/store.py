"""Where counters live: one atomic charge over all limits of a request. The store owns the clock."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from ratelimit.algorithms import Limit


@dataclass(frozen=True, slots=True)
class Charge:
    """`hits` against the counter `key` under `limit`; 0 only asks, negative gives back (see algorithms.step).

    A charge that is not `enforced` (shadow mode) is counted where it has room, and refuses nobody.
    Two limits that do not count alike must not share a key: its state would not be theirs.
    """

    key: bytes
    limit: Limit
    hits: int = 1
    enforced: bool = True


# What a counter says, after the charge or, where the request was refused, without it:
# (admitted, remaining, retry_after, reset_after), as in algorithms.step; times in microseconds.
Reading: TypeAlias = tuple[bool, int, int, int]


class Outcome(NamedTuple):
    """Of one request: whether every enforced charge was admitted, and a reading per charge, in their order.

    Not admitted means that nothing was charged at all. A reading that is not admitted then tells which limit refused.
    """

    admitted: bool
    readings: Sequence[Reading]


class Loss(StrEnum):
    """Why a store could not decide. It is a metric label."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Unavailable:
    """No decision. After a time-out nobody knows whether the charge was made: it must not be repeated."""

    loss: Loss


class CounterStore(Protocol):
    """Every method decides by the store's own clock and returns within a bounded time, with an outcome or without."""

    async def charge(self, charges: Sequence[Charge]) -> Outcome | Unavailable:
        """Admit all charges of one request, or charge nothing."""

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        """`charge` for each request, one after the other, in one round trip. A result per request, in their order."""

    async def peek(self, charges: Sequence[Charge]) -> Sequence[Reading] | Unavailable:
        """Readings without charging; `admitted` says whether a single hit would pass now."""

    async def ready(self) -> bool:
        """Whether a charge made now would be decided."""

    async def close(self) -> None:
        """Give back connections. The store is not used afterwards."""


@runtime_checkable
class ImmediateStore(Protocol):
    """A store that can do without waiting what it is asked for, always or at times."""

    def charge_now(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable] | None:
        """`charge_many`; None, and nothing is charged, where it would have to wait for that."""
