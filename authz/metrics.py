"""Figures of the authorization service. Labels are names of policy and reasons, never data of a request."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# With edges at Envoy's time-out for a check and at the figures that AUTHZ demands.
_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5)
ALLOWED: Final = "allowed"
_NONE: Final = "none"


class AuthzMetrics:
    """All metrics of one gateway's authorization."""

    def __init__(self, registry: CollectorRegistry, gateway: str) -> None:
        self._gateway = gateway
        self._decisions = Counter(
            "apibank_authz_decisions_total",
            "Checks decided, by route, outcome and reason.",
            ("gateway", "route", "outcome", "reason"),
            registry=registry,
        )
        self._seconds = Histogram(
            "apibank_authz_decision_seconds",
            "Time from a check's arrival to its answer, in seconds.",
            ("gateway",),
            buckets=_SECONDS,
            registry=registry,
        ).labels(gateway)
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
        self._audit_dropped = Counter(
            "apibank_authz_audit_dropped_total",
            "Audit events for which there was no room.",
            ("gateway",),
            registry=registry,
        ).labels(gateway)
        self._counters: dict[tuple[str, str], Counter] = {}

    def count(self, route: str | None, reason: str | None, seconds: float) -> None:
        """One decision. `route` and `reason` None: a route that policy does not know, and no refusal."""
        label = (route or "unknown", reason or _NONE)
        counter = self._counters.get(label)
        if counter is None:
            outcome = ALLOWED if reason is None else "denied"
            counter = self._decisions.labels(self._gateway, label[0], outcome, label[1])
            self._counters[label] = counter
        counter.inc()
        self._seconds.observe(seconds)

    def fetched(self, issuer: str, now: float) -> None:
        self._fetches.labels(self._gateway, issuer, "ok").inc()
        self._keys_fetched.labels(self._gateway, issuer).set(now)

    def fetch_failed(self, issuer: str) -> None:
        self._fetches.labels(self._gateway, issuer, "failed").inc()

    def reloaded(self, what: str, succeeded: bool) -> None:
        self._reloads.labels(self._gateway, what, "ok" if succeeded else "failed").inc()

    def audit_dropped(self) -> None:
        self._audit_dropped.inc()
