"""What an expression of Prometheus asks for, and the labels of metrics of ours that have no series yet."""

import re
from collections.abc import Iterator, Set
from typing import Any, Final, cast

from prometheus_client import CollectorRegistry

from apibank.key_reminders import KeyReminders
from ratelimit.metrics import RateLimitMetrics
from xds.metrics import XdsMetrics

_SELECTOR: Final = re.compile(r"\b((?:apibank|envoy|gateway:|central:)[\w:]*|up|ALERTS)\b(?:\{([^}]*)\})?")
_MATCHER: Final = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")
_GROUPING: Final = re.compile(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)")


def metrics_of(expression: str) -> Iterator[tuple[str, Set[str]]]:
    """Each metric, with the labels that are asked of it, the expression's grouping included."""
    # What groups is no metric; where a price is joined in, its own labels differ.
    joined = "group_left" in expression or "on ()" in expression
    grouped = {label.strip() for group in _GROUPING.findall(expression) for label in group.split(",")} - {""}
    bare = _GROUPING.sub("", expression)
    for name, matchers in _SELECTOR.findall(bare):
        if name in {"gateway", "envoy"}:
            continue
        yield name, set(_MATCHER.findall(matchers)) | (set() if joined else grouped)


def declared_labels(name: str) -> Set[str]:
    """The labels with which a metric of ours is declared; none where there is no such metric."""
    registry = CollectorRegistry()
    XdsMetrics(registry)
    RateLimitMetrics(registry)
    KeyReminders(cast(Any, None), registry)
    collector: Any = registry._names_to_collectors.get(name)
    return set(getattr(collector, "_labelnames", ()))
