"""Figures of the authorization service. Labels are names of policy and reasons, never data of a request."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

# With edges at Envoy's time-out for a check and at the figures that AUTHZ demands.
_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5)
_EDGES: Final = (*map(floatToGoString, _SECONDS), "+Inf")
ALLOWED: Final = "allowed"
DENIED: Final = "denied"
_NONE: Final = "none"
_UNKNOWN: Final = "unknown"


class Decisions(Collector):
    """How many checks ended how, and how soon.

    Counted on the one thread that decides, in a dictionary and a list: Prometheus' own counters take a lock each time,
    and more of a decision's time than its record.
    """

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._counts: dict[tuple[str | None, str | None], int] = {}
        self._buckets = [0] * len(_EDGES)
        self._seconds = 0.0

    def count(self, route: str | None, reason: str | None, seconds: float) -> None:
        ended = (route, reason)
        self._counts[ended] = self._counts.get(ended, 0) + 1
        # An edge belongs to the bucket below it.
        self._buckets[bisect_left(_SECONDS, seconds)] += 1
        self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for."""
        counts = CounterMetricFamily(
            "apibank_authz_decisions",
            "Checks decided, by route, outcome and reason.",
            labels=("gateway", "route", "outcome", "reason"),
        )
        for (route, reason), number in list(self._counts.items()):
            outcome = ALLOWED if reason is None else DENIED
            counts.add_metric((self._gateway, route or _UNKNOWN, outcome, reason or _NONE), number)
        yield counts
        seconds = HistogramMetricFamily(
            "apibank_authz_decision_seconds",
            "Time from a check's arrival to its answer, in seconds.",
            labels=("gateway",),
        )
        buckets = list(zip(_EDGES, accumulate(self._buckets), strict=True))
        seconds.add_metric((self._gateway,), buckets, self._seconds)
        yield seconds


class AuthzMetrics:
    """All metrics of one gateway's authorization."""

    def __init__(self, registry: CollectorRegistry, gateway: str) -> None:
        self._gateway = gateway
        decisions = Decisions(gateway)
        registry.register(decisions)
        # `count(route, reason, seconds)`, once per decision. `route` and `reason` None: a route that policy does not
        # know, and no refusal.
        self.count = decisions.count
        self._fetches = Counter(
            "apibank_authz_key_fetches_total",
            "Fetches of an issuer's key set, by outcome.",
            ("gateway", "issuer", "outcome"),
            registry=registry,
        )
        self._keys_fetched = Gauge(
            "apibank_authz_keys_fetched_timestamp_seconds",
            "When an issuer's keys were last fetched, in seconds since the epoch.",
            ("gateway", "issuer"),
            registry=registry,
        )
        self._reloads = Counter(
            "apibank_authz_reloads_total",
            "Reloads of agent secrets, partner keys and revocations, by outcome.",
            ("gateway", "what", "outcome"),
            registry=registry,
        )
        self._shadowed = Counter(
            "apibank_authz_shadow_total",
            "Requests that a mode of shadow let pass, by route and reason; `rule`: whose mode, none for the route's.",
            ("gateway", "route", "rule", "reason"),
            registry=registry,
        )
        self._unknown = Counter(
            "apibank_authz_optional_total",
            "Requests without a credential that a mode of optional let pass, by route.",
            ("gateway", "route"),
            registry=registry,
        )
        self._unasked = Counter(
            "apibank_authz_off_total",
            "Requests that a mode of off asked nothing of, by route.",
            ("gateway", "route"),
            registry=registry,
        )
        self._audit_dropped = Counter(
            "apibank_authz_audit_dropped_total",
            "Audit events for which there was no room.",
            ("gateway",),
            registry=registry,
        ).labels(gateway)

    def fetched(self, issuer: str, now: float) -> None:
        self._fetches.labels(self._gateway, issuer, "ok").inc()
        self._keys_fetched.labels(self._gateway, issuer).set(now)

    def fetch_failed(self, issuer: str) -> None:
        self._fetches.labels(self._gateway, issuer, "failed").inc()

    def reloaded(self, what: str, succeeded: bool) -> None:
        self._reloads.labels(self._gateway, what, "ok" if succeeded else "failed").inc()

    def shadowed(self, route: str, reason: str, rule: str = _NONE) -> None:
        self._shadowed.labels(self._gateway, route, rule, reason).inc()

    def passed_unknown(self, route: str) -> None:
        self._unknown.labels(self._gateway, route).inc()

    def passed_unasked(self, route: str) -> None:
        self._unasked.labels(self._gateway, route).inc()

    def audit_dropped(self) -> None:
        self._audit_dropped.inc()
