"""Figures of the rate-limit service. Labels are domains and limits as configured, never data of a request,
unless a rule asks for values of its own.
"""

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ratelimit.matching import Label, Plan
from ratelimit.rules import Rule
from ratelimit.store import Loss, Reading

_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5)
_UNKNOWN: Final = "unknown"
_LOCAL, _ADMITTED, _UNAVAILABLE = _ANSWERS = ("local", "admitted", "unavailable")
# Names with values of requests in them, where the rules want that; further ones are counted under the rule's own name.
_MOST_TOLD: Final = 1000
# Requests may combine limits as they like: of more combinations than this, only the limits are counted on.
_MOST_EVENTS: Final = 10_000

# What became of one request: its domain and limits, whether it passed, and whether each limit had room.
_Event = tuple[str | None, tuple[Label, ...], bool, tuple[bool, ...]]


class RateLimitMetrics:
    """All metrics of one rate-limit service."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = _Requests()
        self._told: set[tuple[str | None, str]] = set()
        registry.register(self._requests)
        self._lost = Counter(
            "apibank_ratelimit_store_losses_total",
            "Requests that the store could not decide, by how it failed and what was answered.",
            ("domain", "loss", "answer"),
            registry=registry,
        )
        self._invalid = Counter(
            "apibank_ratelimit_invalid_requests_total",
            "Requests without a domain or a descriptor, or that could not be read.",
            registry=registry,
        )
        self._failed = Counter(
            "apibank_ratelimit_failures_total",
            "Requests that ended in an unexpected error of the service, and so were not admitted.",
            registry=registry,
        )

        self._loads = Counter(
            "apibank_ratelimit_config_loads_total",
            "Readings of the configuration files, by outcome; a failed one leaves the rules as they were.",
            ("outcome",),
            registry=registry,
        )

    def loaded(self, succeeded: bool) -> None:
        """The configuration files were read. Where the names that tell values are used up, they begin anew."""
        if succeeded and len(self._told) >= _MOST_TOLD:
            self._requests.forget({(domain or _UNKNOWN, name) for domain, name in self._told})
            self._told.clear()
        self._loads.labels("ok" if succeeded else "failed").inc()

    def named(self, plan: Plan) -> Plan:
        """The plan as it is counted: with names that tell values only while there are not too many of them."""
        if not any(rule is not None and rule.told for rule in plan.rules):
            return plan
        labels = zip(plan.labels, plan.rules, strict=True)
        return replace(plan, labels=tuple(self._bounded(plan.domain, label, rule) for label, rule in labels))

    def _bounded(self, domain: str | None, label: Label, rule: Rule | None) -> Label:
        name, kind = label
        if rule is None or not rule.told or (domain, name) in self._told:
            return label
        if len(self._told) >= _MOST_TOLD:
            return rule.name, kind
        self._told.add((domain, name))
        return label

    def decided(self, plan: Plan, admitted: bool, readings: Sequence[Reading]) -> None:
        """One request; each of its limits is counted by what became of it."""
        events = self._requests.events
        events[plan.domain, plan.labels, admitted, tuple([each[0] for each in readings])] += 1
        if len(events) > _MOST_EVENTS:
            self._requests.fold()

    def counts_for(self, domain: str) -> None:
        """A domain whose losses are shown from nothing on: Prometheus sees increases alone, and not the first event."""
        for loss in Loss:
            for answer in _ANSWERS:
                self._lost.labels(domain, loss.value, answer)

    def lost(self, plan: Plan, loss: Loss) -> None:
        """One request that the store did not decide."""
        answer = _LOCAL if plan.local else _ADMITTED if plan.fails_open else _UNAVAILABLE
        self._lost.labels(plan.domain or _UNKNOWN, loss.value, answer).inc()

    def took(self, seconds: float, requests: int) -> None:
        """The time of some requests that were decided together, from their arrival to their answers."""
        self._requests.buckets[bisect_left(_SECONDS, seconds)] += requests
        self._requests.seconds += seconds * requests

    def invalid(self) -> None:
        self._invalid.inc()

    def failed(self, requests: int) -> None:
        self._failed.inc(requests)


class _Requests(Collector):
    """Plain numbers, made into samples when they are asked for: a request takes no lock and formats no label."""

    def __init__(self) -> None:
        self.events: Tally[_Event] = Tally()
        self._folded: Tally[tuple[str, str, str]] = Tally()
        self.buckets = [0] * (len(_SECONDS) + 1)
        self.seconds = 0.0

    def fold(self) -> None:
        """Forget which limits came together."""
        self._folded += _by_limit(self.events)
        self.events.clear()

    def forget(self, names: Set[tuple[str, str]]) -> None:
        """Tell no more of these limits, as (domain, limit): to Prometheus their counters begin at 0 again."""
        self.fold()
        self._folded = Tally({key: count for key, count in self._folded.items() if key[:2] not in names})

    def collect(self) -> Iterable[Metric]:
        decisions = CounterMetricFamily(
            "apibank_ratelimit_decisions",
            "Limits asked, by domain, limit and outcome.",
            labels=("domain", "limit", "outcome"),
        )
        for labels, count in sorted((self._folded + _by_limit(self.events)).items()):
            decisions.add_metric(labels, count)
        yield decisions
        seconds = HistogramMetricFamily(
            "apibank_ratelimit_decision_seconds", "Time from a request's arrival to its answer, in seconds."
        )
        bounds = [*map(str, _SECONDS), "+Inf"]
        seconds.add_metric((), list(zip(bounds, accumulate(self.buckets), strict=True)), self.seconds)
        yield seconds


def _by_limit(events: Tally[_Event]) -> Tally[tuple[str, str, str]]:
    limits: Tally[tuple[str, str, str]] = Tally()
    for (domain, labels, admitted, had_room), count in events.copy().items():
        rest = iter(had_room)
        for name, kind in labels:
            counted = kind in {"enforced", "shadow", "asked", "overrun"}
            outcome = _outcome(kind, admitted, next(rest)) if counted else kind
            limits[domain or _UNKNOWN, name, outcome] += count
    return limits


def _outcome(kind: str, admitted: bool, had_room: bool) -> str:
    if kind in {"asked", "overrun"}:
        # No request came of it, so it was neither admitted nor refused.
        return kind
    if had_room:
        return "admitted" if admitted else "not_charged"
    return "shadow_refused" if kind == "shadow" else "refused"
