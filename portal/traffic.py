"""What the federation was sent, cut in every way that somebody who runs it asks for, and what it costs (R17-R21, R85).

A request that reaches a domain is counted by the central gateway and by the domain's. Whatever is not cut by gateway is
told as central saw it, unless a gateway is named, so that no request is in a figure twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from portal.developer.usage import Tally


class By(StrEnum):
    """How traffic is cut. `HOUR`: of the day, in UTC, over as many days as are kept by the hour."""

    GATEWAY = "gateway"
    ROUTE = "route"
    CALLER = "caller"
    TENANT = "tenant"
    TIER = "tier"
    STATUS = "status"
    HOUR = "hour"


@dataclass(frozen=True, slots=True)
class Line:
    """Requests of one name. `p99` in milliseconds; `octets` in and out, headers included."""

    name: str
    tally: Tally
    p99: float | None = None
    octets: int = 0


@dataclass(frozen=True, slots=True)
class CostLine:
    """What one tier's requests to one gateway would cost at the declared price, in dollars."""

    gateway: str
    tier: str
    requests: int
    dollars: float


@dataclass(frozen=True, slots=True)
class Cost:
    """By domain and tier. `month`: requests that central took in 30 days; `threshold`: when to think of an upgrade."""

    lines: Sequence[CostLine]
    month: int
    threshold: float
    revenue: float

    @property
    def dollars(self) -> float:
        return sum(one.dollars for one in self.lines)

    @property
    def is_reached(self) -> bool:
        return self.month >= self.threshold


class TrafficFigures(Protocol):
    """The tables of usage. Raises portal.developer.browser.Refusal where they are away."""

    async def lines(
        self, by: By, since: int, until: int, *, gateway: str | None = None, most: int = 50
    ) -> Sequence[Line]:
        """Those with the most requests first; hours in their order. Times in seconds since the epoch."""
        ...

    async def whole(self, since: int, until: int, gateway: str | None = None) -> Line: ...

    async def cost(self, since: int, until: int) -> Cost: ...
