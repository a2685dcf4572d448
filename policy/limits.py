"""How often: limits per minute, quotas per day, who is counted, and what is said when there is none left."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from policy.kinds import Count, Model, Text, Tier


class Per(StrEnum):
    """Who shares one counter."""

    CALLER = "caller"
    ADDRESS = "address"
    GATEWAY = "gateway"


class Unit(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class CountingAlgorithm(StrEnum):
    GCRA = "gcra"
    FIXED_WINDOW = "fixed_window"
    SLIDING_WINDOW = "sliding_window"
    CALENDAR_QUOTA = "calendar_quota"


class StoreFailure(StrEnum):
    """What a limit answers while its counter cannot be reached."""

    CLOSED = "closed"
    OPEN = "open"
    LOCAL = "local"


class Burst(Model):
    """`rate` times the sustained rate for `seconds` (R71): GCRA with a tolerance of (rate - 1) * seconds."""

    rate: Annotated[int, Field(strict=True, ge=2, le=100)] = 2
    seconds: Annotated[int, Field(strict=True, ge=1, le=3600)] = 10


# A number of requests, no bound, or "what that tier has, unless the caller has a figure of its own".
Figure = Count | Literal["unlimited"] | Tier


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("an IANA time zone, such as UTC or Asia/Kolkata") from None
    return name


class Limit(Model):
    """One limit, with one counter per caller, per client address, or for the whole gateway."""

    description: Text | None = None
    per: Per = Per.CALLER
    unit: Unit = Unit.MINUTE
    requests: Count | None = Field(None, description="The same for everybody; or `tiers`, not both.")
    tiers: Mapping[Tier, Figure] | None = Field(
        None, description="A figure per tier. A tier that is absent is refused, never unlimited (R70)."
    )
    tenants: Mapping[Annotated[str, StringConstraints(min_length=1, max_length=128)], Count] = Field(
        default_factory=dict, description="Figures agreed with single tenants (enterprise, `custom`)."
    )
    partners: Mapping[Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")], Count] = Field(
        default_factory=dict, description="The same for partners, who call with API keys."
    )
    burst: Burst | None = None
    algorithm: CountingAlgorithm | None = Field(
        None, description="gcra where a burst is given, calendar_quota for day, week and month, else fixed_window."
    )
    time_zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,64}$"), AfterValidator(_known_zone)] = (
        Field("UTC", description="IANA zone whose calendar bounds a calendar_quota.")
    )
    on_store_failure: StoreFailure = Field(
        StoreFailure.CLOSED,
        description="While its counter cannot be reached: closed refuses with 503, open admits everybody, local lets "
        "every process count its share by itself (APIBANK_REPLICAS).",
    )
    shadow: bool = Field(False, description="Count and report, but refuse nobody.")
    code: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")] = "rate_limited"
    refusal: Text = Field("Too many requests", description="Detail of the 429.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.requests is None) == (self.tiers is None):
            raise ValueError("exactly one of requests and tiers")
        if self.tiers is not None and self.per is not Per.CALLER:
            raise ValueError("figures per tier need per: caller")
        if (self.tenants or self.partners) and self.per is not Per.CALLER:
            raise ValueError("figures per tenant or partner need per: caller")
        for tier, figure in (self.tiers or {}).items():
            if isinstance(figure, Tier) and not isinstance((self.tiers or {}).get(figure), int):
                raise ValueError(f"{tier} counts as {figure}, which has no number of its own")
        if self.counting is CountingAlgorithm.GCRA and self.unit in {Unit.WEEK, Unit.MONTH}:
            raise ValueError("gcra needs a unit of a fixed length: second, minute, hour or day")
        if self.burst is not None and self.counting is not CountingAlgorithm.GCRA:
            raise ValueError("a burst needs the algorithm gcra")
        if self.counting is CountingAlgorithm.CALENDAR_QUOTA and self.unit not in {Unit.DAY, Unit.WEEK, Unit.MONTH}:
            raise ValueError("a calendar_quota is per day, week or month")
        return self

    @property
    def counting(self) -> CountingAlgorithm:
        """The algorithm in force: the one written, else the one that fits the unit and the burst."""
        if self.algorithm is not None:
            return self.algorithm
        if self.burst is not None:
            return CountingAlgorithm.GCRA
        if self.unit in {Unit.DAY, Unit.WEEK, Unit.MONTH}:
            return CountingAlgorithm.CALENDAR_QUOTA
        return CountingAlgorithm.FIXED_WINDOW

    def figure(self, tier: Tier) -> int | None:
        """Requests per unit for a tier; None where there is no bound. KeyError where the tier is not admitted."""
        if self.tiers is None:
            return self.requests
        figure = self.tiers[tier]
        if isinstance(figure, Tier):
            figure = self.tiers[figure]
        return figure if isinstance(figure, int) else None
