"""What happened in the last minute, by gateway: figures that are true now, and not an average of the day."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from telemetry.access_log.histogram import Histogram, add, count, quantile
from telemetry.access_log.record import AccessRecord

SECONDS: Final = 60
_MOST_GATEWAYS: Final = 64
OTHERS: Final = "others"


@dataclass(frozen=True, slots=True)
class LastMinute:
    """`error_rate`: the share that failed, from 0 to 1. Durations in milliseconds; None without requests."""

    requests: int
    failed: int
    error_rate: float
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(slots=True)
class _Second:
    at: int = -1
    requests: int = 0
    failed: int = 0
    histogram: Histogram = field(default_factory=dict)


class Window:
    """Sixty seconds of each gateway, by when a request came."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds since the epoch, as Envoys tell the time."""
        self._clock = clock
        self._seconds: dict[str, list[_Second]] = {}

    def count(self, record: AccessRecord) -> None:
        at = int(record.at)
        if not self._clock() - SECONDS < at <= self._clock() + 1:
            # Of longer ago, as the request lasted; or of a clock that is wrong.
            return
        name = record.gateway if record.gateway in self._seconds or len(self._seconds) < _MOST_GATEWAYS else OTHERS
        ring = self._seconds.setdefault(name, [_Second() for _ in range(SECONDS)])
        second = ring[at % SECONDS]
        if second.at > at:
            return
        if second.at != at:
            second = ring[at % SECONDS] = _Second(at)
        second.requests += 1
        second.failed += record.failed
        if record.duration is not None:
            count(second.histogram, record.duration)

    def last_minute(self, gateway: str) -> LastMinute:
        """Of one gateway; zeros where nothing is known of it."""
        since = int(self._clock()) - SECONDS
        recent = [second for second in self._seconds.get(gateway, ()) if second.at > since]
        requests, failed = sum(one.requests for one in recent), sum(one.failed for one in recent)
        histogram: Histogram = {}
        for one in recent:
            add(histogram, one.histogram)
        p50, p95, p99 = (quantile(histogram, share) for share in (0.5, 0.95, 0.99))
        return LastMinute(requests, failed, failed / requests if requests else 0.0, p50, p95, p99)

    @property
    def gateways(self) -> tuple[str, ...]:
        return tuple(sorted(self._seconds))
