"""Requests counted by the minute, for each caller, route and result."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from telemetry.access_log.histogram import Histogram, add, count
from telemetry.access_log.record import AccessRecord

MINUTE: Final = 60
# What those have in common whose own name would be one too many.
OTHERS: Final = "others"


class UsageKey(NamedTuple):
    """What is counted together. `start`: the minute's, in seconds since the epoch."""

    start: int
    gateway: str
    route: str
    caller: str
    tenant: str
    tier: str
    status: int
    credential: str = ""


@dataclass(slots=True)
class Figures:
    """Durations in milliseconds."""

    requests: int = 0
    failed: int = 0
    octets_in: int = 0
    octets_out: int = 0
    duration: float = 0.0
    histogram: Histogram = field(default_factory=dict)

    def count(self, record: AccessRecord) -> None:
        self.requests += 1
        self.failed += record.failed
        self.octets_in += record.octets_in
        self.octets_out += record.octets_out
        if record.duration is not None:
            self.duration += record.duration
            count(self.histogram, record.duration)

    def add(self, more: "Figures") -> None:
        self.requests += more.requests
        self.failed += more.failed
        self.octets_in += more.octets_in
        self.octets_out += more.octets_out
        self.duration += more.duration
        add(self.histogram, more.histogram)


class UsageCounter:
    """Adds up what has come since it was last taken. At most `capacity` different keys at a time.

    Beyond them callers and tenants are counted as OTHERS, so that whoever makes up callers costs no memory; what they
    do is still counted.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._figures: dict[UsageKey, Figures] = {}

    def count(self, records: Iterable[AccessRecord]) -> None:
        for record in records:
            start = int(record.at) // MINUTE * MINUTE
            key = UsageKey(
                start, record.gateway, record.route, record.caller, record.tenant, record.tier, record.status,
                record.credential,
            )  # fmt: skip
            figures = self._figures.get(key)
            if figures is None:
                if len(self._figures) >= self._capacity:
                    key = key._replace(caller=OTHERS, tenant=OTHERS, credential="")
                figures = self._figures.setdefault(key, Figures())
            figures.count(record)

    def take(self) -> dict[UsageKey, Figures]:
        """Everything counted since the last time."""
        taken, self._figures = self._figures, {}
        return taken

    def put_back(self, figures: dict[UsageKey, Figures]) -> None:
        """What was taken could not be kept: count it again."""
        for key, one in figures.items():
            self._figures.setdefault(key, Figures()).add(one)
