"""How many requests each proxy sent on and how many of them failed, and how often the proxies shall say so.

What Envoy counts, and what it does not, is in docs/adr/0016-what-load-reports-see.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from xds.compiler.names import AUTHZ, RATELIMIT
from xds.load_reports.load import ClusterLoad
from xds.protocol.messages import Node

# How often proxies report while nobody watches, in seconds: enough to know that they do.
IDLE_SECONDS: Final = 10.0
# A shorter one would cost the proxies more than it tells; the first report of a new stream repeats the node, 60 kB.
SHORTEST_SECONDS: Final = 0.1
# Proxies that have gone but are remembered, so that a total never falls because a connection was lost.
_MOST_GONE: Final = 1_000

# The gateway's own services are asked once for each request, so what they answer well is no traffic of its own.
# What they fail to answer is a request that failed, and that no upstream has seen.
_GUARDS: Final = frozenset({AUTHZ, RATELIMIT})
# The streams to the control plane itself (envoy/bootstrap.yaml.tmpl): they end when it restarts.
_CONTROL_PLANE: Final = "control-plane"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests that were answered or failed, and those of them that failed."""

    requests: int = 0
    errors: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.requests + other.requests, self.errors + other.errors)


def traffic_of(loads: Iterable[ClusterLoad]) -> Traffic:
    """The traffic of one report. A request that was retried counts once for each attempt."""
    total = Traffic()
    for load in loads:
        if load.cluster == _CONTROL_PLANE:
            continue
        errors = load.errors + load.dropped
        total += Traffic(errors if load.cluster in _GUARDS else load.successes + errors, errors)
    return total


@dataclass(slots=True, eq=False)
class Reporter:
    """One open stream of a proxy; `closed` once the control plane wants it to end."""

    node: Node
    wake: Callable[[], None]
    closed: bool = False


class LoadReports:
    """Belongs to one event loop: call it from there.

    A proxy's totals grow from its first report on and survive its reconnections; they are forgotten when it has gone
    and so many have gone after it that its place is needed.
    """

    def __init__(self, idle: float = IDLE_SECONDS) -> None:
        self._idle = idle
        self._totals: dict[str, dict[str, Traffic]] = {}
        self._open: set[Reporter] = set()
        self._gone: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._watched: dict[str, list[float]] = {}

    def totals(self, group: str) -> dict[str, Traffic]:
        """By node id: all that the proxy has reported since it first connected."""
        return dict(self._totals.get(group, {}))

    def connected(self, group: str) -> frozenset[str]:
        """The ids of the group's proxies that report: of no other is silence a good sign."""
        return frozenset(reporter.node.id for reporter in self._open if reporter.node.cluster == group)

    def interval(self, group: str) -> float:
        """How often the group's proxies shall report now, in seconds."""
        return min(self._watched.get(group, ()), default=self._idle)

    @contextmanager
    def watch(self, group: str, interval: float) -> Iterator[None]:
        """While in it, the group's proxies report every `interval` seconds, or as often as another watcher needs.

        What a report tells is up to one interval old. So the first one in here also tells of the time before: whoever
        compares lets one interval pass, then notes the totals to start from. ValueError where the interval is shorter
        than `SHORTEST_SECONDS`.
        """
        if not interval >= SHORTEST_SECONDS:
            raise ValueError(f"proxies cannot report every {interval} s: at least {SHORTEST_SECONDS} s are needed")
        watchers = self._watched.setdefault(group, [])
        watchers.append(interval)
        self._wake(group)
        try:
            yield
        finally:
            watchers.remove(interval)
            if not watchers:
                self._watched.pop(group, None)
            self._wake(group)

    def join(self, node: Node, wake: Callable[[], None]) -> Reporter:
        """A proxy has begun to report; `wake` is called when `interval` may have changed or the stream shall end."""
        reporter = Reporter(node, wake)
        self._open.add(reporter)
        self._gone.pop((node.cluster, node.id), None)
        self._totals.setdefault(node.cluster, {}).setdefault(node.id, Traffic())
        return reporter

    def add(self, reporter: Reporter, loads: Iterable[ClusterLoad]) -> None:
        """What the proxy has said of the time since its last report."""
        self._totals[reporter.node.cluster][reporter.node.id] += traffic_of(loads)

    def leave(self, reporter: Reporter) -> None:
        self._open.discard(reporter)
        node = reporter.node
        if any((other.node.cluster, other.node.id) == (node.cluster, node.id) for other in self._open):
            return
        self._gone[node.cluster, node.id] = None
        while len(self._gone) > _MOST_GONE:
            (group, node_id), _ = self._gone.popitem(last=False)
            del self._totals[group][node_id]
            if not self._totals[group]:
                del self._totals[group]

    def close(self) -> None:
        """End all streams that are open now; their proxies come back to whoever serves then."""
        for reporter in self._open:
            reporter.closed = True
            reporter.wake()

    def _wake(self, group: str) -> None:
        for reporter in self._open:
            if reporter.node.cluster == group:
                reporter.wake()
