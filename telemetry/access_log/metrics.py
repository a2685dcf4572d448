"""Figures of what Envoys tell. Labels are gateways, tiers and classes of statuses, and consumers: never addresses.

A consumer is a partner, an agent or a tenant. People without a tenant are one, so that no series names anybody; and
there are so many series at most, whoever calls (https://prometheus.io/docs/practices/naming/#labels).
"""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from policy.descriptors import CALLER_AGENT, CALLER_PARTNER, CALLER_SUBJECT
from telemetry.access_log.record import AccessRecord

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_MOST_GATEWAYS: Final = 64
_MOST_CONSUMERS: Final = 200
_NAMED: Final = (CALLER_PARTNER, CALLER_AGENT)
_PEOPLE: Final = "people"
_ANONYMOUS: Final = "anonymous"
_TIERS: Final = frozenset({"", "free", "business", "enterprise", "internal"})
_OTHERS: Final = "others"


class AccessLogMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"apibank_{name}_total", text, labels, registry=registry)

        self._requests = counter(
            "requests", "Requests, by class of their status; 0xx: no answer.", "gateway", "tier", "status"
        )
        self._consumers = counter(
            "consumer_requests",
            "Requests by consumer: partner:NAME, agent:NAME, tenant:NAME, people, anonymous, or others.",
            "gateway", "consumer", "status",
        )  # fmt: skip
        self._failed = counter("requests_failed", "Those that the federation failed.", "gateway")
        self._duration = Histogram(
            "apibank_request_seconds", "Time from a request's first octet to its answer's last.", ("gateway",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.unreadable = counter("access_log_unreadable", "Messages that were no access log.")
        self.dropped = counter(
            "access_log_dropped",
            "Requests that are counted and not logged, as there was no room or the database cannot hold them.",
        )
        self.not_kept = counter("access_log_write_failures", "Times that the database did not take what was told.")
        self.waiting = Gauge(
            "apibank_access_log_waiting", "Requests that are not in the database yet.", registry=registry
        )
        self._gateways: set[str] = set()
        self._known: set[str] = set()

    def count(self, record: AccessRecord) -> None:
        gateway = self._gateway(record.gateway)
        tier = record.tier if record.tier in _TIERS else _OTHERS
        status = f"{min(record.status, 999) // 100}xx"
        self._requests.labels(gateway, tier, status).inc()
        self._consumers.labels(gateway, self._consumer(record), status).inc()
        if record.failed:
            self._failed.labels(gateway).inc()
        if record.duration is not None:
            self._duration.labels(gateway).observe(record.duration / 1000)

    def _consumer(self, record: AccessRecord) -> str:
        if record.caller.startswith(_NAMED):
            name = record.caller
        elif record.tenant:
            name = f"tenant:{record.tenant}"
        elif record.caller.startswith(CALLER_SUBJECT):
            return _PEOPLE
        else:
            return _ANONYMOUS
        if name not in self._known:
            if len(self._known) >= _MOST_CONSUMERS:
                return _OTHERS
            self._known.add(name)
        return name

    def _gateway(self, name: str) -> str:
        if name not in self._gateways:
            if len(self._gateways) >= _MOST_GATEWAYS:
                return _OTHERS
            self._gateways.add(name)
            # A counter that begins at its first failure hides that one from Prometheus, which sees only increases.
            self._failed.labels(name)
        return name
