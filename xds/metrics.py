"""Figures of the control plane. Labels are resource types by their short names and node groups, never node ids."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xds.protocol.messages import Acked, Event, GateExpired, Nacked, Oversized, Response, StaleNonce, UnknownType
from xds.snapshot import SHORT_NAMES, Snapshot

# Envoys answer in milliseconds; one that warms a cluster without endpoints answers after 15 seconds.
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
# From milliseconds for an incremental compilation to minutes for a proxy that was away.
_CHANGE_SECONDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_SLOW: Final = frozenset({"change_sent_seconds", "change_acked_seconds"})
_UNKNOWN: Final = "unknown"
# Without TLS a proxy says what it likes of its group; so many have figures of their own, and the others share theirs.
_MOST_GROUPS: Final = 256
_OTHER_GROUPS: Final = "others"
# How many changes back a proxy's answer is still set against the moment when the change was saved.
_CHANGES_KEPT: Final = 256

Metric = TypeVar("Metric", covariant=True)


class _Maker(Protocol[Metric]):
    def __call__(self, name: str, text: str, /, *labels: str) -> Metric: ...


class XdsMetrics:
    """All metrics of one control plane."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"apibank_xds_{name}_total", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"apibank_xds_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            buckets = _CHANGE_SECONDS if name in _SLOW else _SECONDS
            return Histogram(f"apibank_xds_{name}", text, labels, buckets=buckets, registry=registry)

        self._streams = gauge("streams", "Open streams, by node group and dialect.", "group", "dialect")
        self._nodes = gauge("connected_nodes", "Connected proxies, by node group.", "group")
        self._pushes = counter("pushes", "Responses sent, by type.", "type")
        self._bytes = counter("pushed_bytes", "Bytes of resources sent, by type.", "type")
        self._acks = counter("acks", "Responses accepted by proxies, by type.", "type")
        self._nacks = counter("nacks", "Responses refused by proxies, by type.", "type")
        # A counter that begins at its first event hides that one from Prometheus, which sees only increases.
        for name in SHORT_NAMES.values():
            self._nacks.labels(name)
        self._heartbeats = counter("heartbeats", "Responses that only renewed times to live, by type.", "type")
        self._lapsed = counter("refused_heartbeats", "Those of them that proxies refused, by type.", "type")
        self._stale = counter("stale_nonces", "Requests that answered no response in flight, by type.", "type")
        self._unknown = counter("unknown_types", "Requests for a type that is not served.")
        self._expired = counter("gate_expirations", "Steps that went on without a proxy's answer, by its type.", "type")
        self._oversized = counter("oversized", "Responses not sent, as the client could not receive them.", "type")
        self._denied = counter("denied_streams", "Streams ended by the control plane, by gRPC status.", "status")
        self._seconds = histogram(
            "push_ack_seconds", "Time from sending a response to its acceptance, in seconds, by type.", "type"
        )
        self._resources = gauge(
            "resources", "Resources of the current snapshot, by node group and type.", "group", "type"
        )
        self._size = gauge("resource_bytes", "Their size in bytes.", "group", "type")
        self._published = counter("snapshots", "Snapshots published, by node group.", "group")

        self._declare_operation(counter, gauge, histogram)
        self._groups: set[str] = set()
        self._versions: dict[str, str] = {}
        self._saved_at: OrderedDict[tuple[str, str], float] = OrderedDict()

    def _declare_operation(self, counter: _Maker[Counter], gauge: _Maker[Gauge], histogram: _Maker[Histogram]) -> None:
        self._refusals = counter("admission_refusals", "Streams refused with RESOURCE_EXHAUSTED, by reason.", "reason")
        self._admission = histogram("admission_wait_seconds", "Time that a stream waited for its start, in seconds.")
        self._pending = gauge("pending_pushes", "Streams that wait for their turn to be sent a change.")
        self._others = gauge("other_calls", "Open streams of load reports and calls for the client status.", "service")
        self._others_refused = counter("other_refusals", "Those that were refused, by reason.", "service", "reason")
        self._others_ended = counter("other_timeouts", "Those that said or took nothing for too long.", "service")
        self._stalled = counter("stalled_streams", "Streams ended as the client took nothing for too long.")
        self._silent = counter("silent_streams", "Streams ended as no request came.")
        self._aged = counter("aged_streams", "Streams ended as they reached the maximum connection age.")
        self._throttled = counter("throttled_requests", "Requests after which a stream was slowed down.")
        self._info = gauge("snapshot_info", "1 for the version of each group's snapshot.", "group", "version")
        self._compile = histogram("compile_seconds", "Time to compile a policy, in seconds.", "group")
        self._debounce = histogram("debounce_seconds", "Time from the first of some changes of files to reading them.")
        self._sent = histogram("change_sent_seconds", "Time from saving a change to sending it to a proxy.", "group")
        self._acked = histogram("change_acked_seconds", "Time from saving a change until a proxy runs it.", "group")
        self._rollbacks = counter("rollbacks", "Resources rolled back after a refusal.", "group", "type")
        self._canaries = counter("canaries", "Canaries ended, by verdict.", "group", "verdict")
        self._canary_nodes = gauge("canary_nodes", "Proxies that run a canary.", "group")

    def opened(self, group: str, dialect: str, nodes: int) -> None:
        label = self._label(group)
        self._streams.labels(label, dialect).inc()
        self._nodes.labels(label).set(nodes)

    def closed(self, group: str, dialect: str, nodes: int) -> None:
        label = self._label(group)
        self._streams.labels(label, dialect).dec()
        self._nodes.labels(label).set(nodes)

    def admission_refused(self, reason: str) -> None:
        """`reason` is one of `admission.DenialReason`."""
        self._refusals.labels(reason).inc()

    def admitted(self, waited: float) -> None:
        self._admission.observe(waited)

    def other_calls(self, service: str, more: int) -> None:
        """So many calls that are no discovery have begun, or ended if negative. `service` is a short name."""
        self._others.labels(service).inc(more)

    def other_refused(self, service: str, reason: str) -> None:
        self._others_refused.labels(service, reason).inc()

    def other_timed_out(self, service: str) -> None:
        self._others_ended.labels(service).inc()

    def push_pending(self, pending: int) -> None:
        self._pending.set(pending)

    def stalled(self) -> None:
        self._stalled.inc()

    def silent(self) -> None:
        self._silent.inc()

    def aged(self) -> None:
        self._aged.inc()

    def throttled(self) -> None:
        self._throttled.inc()

    def compiled(self, group: str, seconds: float) -> None:
        """A policy of this gateway became a snapshot."""
        self._compile.labels(self._label(group)).observe(seconds)

    def debounced(self, seconds: float) -> None:
        """Changed files were read this long after the first of them had changed."""
        self._debounce.observe(seconds)

    def change_saved(self, group: str, version: str, at: float) -> None:
        """What became the snapshot of this version was saved at this time of `time.monotonic`.

        Say so before the snapshot is published; what proxies are sent and accept of it is then timed from there.
        """
        self._saved_at[group, version] = at
        self._saved_at.move_to_end((group, version))
        while len(self._saved_at) > _CHANGES_KEPT:
            self._saved_at.popitem(last=False)

    def change_sent(self, group: str, version: str, now: float) -> None:
        """The first response towards the snapshot of this version went to a proxy."""
        if (at := self._saved_at.get((group, version))) is not None:
            self._sent.labels(self._label(group)).observe(now - at)

    def change_acked(self, group: str, version: str, now: float) -> None:
        """A proxy runs all of the snapshot of this version."""
        if (at := self._saved_at.get((group, version))) is not None:
            self._acked.labels(self._label(group)).observe(now - at)

    def rolled_back(self, group: str, type_url: str) -> None:
        """One refused resource of this type is served in its last proven version, or not at all."""
        self._rollbacks.labels(self._label(group), SHORT_NAMES.get(type_url, _UNKNOWN)).inc()

    def canary_running(self, group: str, nodes: int) -> None:
        """So many proxies of the group run a canary; 0 once it has ended."""
        self._canary_nodes.labels(self._label(group)).set(nodes)

    def canary_ended(self, group: str, verdict: str) -> None:
        """`verdict` is one of `canary.CanaryOutcome`'s."""
        self._canaries.labels(self._label(group), verdict).inc()

    def denied(self, status: str) -> None:
        self._denied.labels(status).inc()

    def pushed(self, response: Response) -> None:
        label = SHORT_NAMES[response.type_url]
        (self._heartbeats if response.heartbeat else self._pushes).labels(label).inc()
        if not response.bare:
            self._bytes.labels(label).inc(sum(len(resource.body) for resource in response.resources))

    def happened(self, event: Event) -> None:
        match event:
            case Acked(response) if response.heartbeat:
                # It changed nothing, and says nothing of how fast changes are.
                pass
            case Nacked(response) if response.heartbeat:
                self._lapsed.labels(SHORT_NAMES[response.type_url]).inc()
            case Acked(response, seconds):
                self._acks.labels(SHORT_NAMES[response.type_url]).inc()
                self._seconds.labels(SHORT_NAMES[response.type_url]).observe(seconds)
            case Nacked(response):
                self._nacks.labels(SHORT_NAMES[response.type_url]).inc()
            case StaleNonce(type_url):
                self._stale.labels(SHORT_NAMES.get(type_url, _UNKNOWN)).inc()
            case UnknownType():
                self._unknown.inc()
            case GateExpired(type_urls):
                for type_url in type_urls:
                    self._expired.labels(SHORT_NAMES[type_url]).inc()
            case Oversized(type_url):
                self._oversized.labels(SHORT_NAMES[type_url]).inc()

    def published(self, group: str, snapshot: Snapshot) -> None:
        label = self._label(group)
        self._published.labels(label).inc()
        if (former := self._versions.get(label)) is not None:
            self._info.remove(label, former)
        self._versions[label] = snapshot.version
        self._info.labels(label, snapshot.version).set(1)
        for type_url, short in SHORT_NAMES.items():
            resources = snapshot.resources.get(type_url, {}).values()
            self._resources.labels(label, short).set(len(resources))
            self._size.labels(label, short).set(sum(len(resource.body) for resource in resources))

    def forget(self, group: str) -> None:
        """The group is gone for good: so are its figures."""
        if group not in self._groups:
            return
        for metric in (
            self._streams, self._nodes, self._resources, self._size, self._published, self._info, self._compile,
            self._sent, self._acked, self._rollbacks, self._canaries, self._canary_nodes,
        ):  # fmt: skip
            metric.remove_by_labels({"group": group})
        self._groups.discard(group)
        self._versions.pop(group, None)

    def _label(self, group: str) -> str:
        """The group, or what stands for all groups beyond the most that have figures of their own."""
        if group not in self._groups:
            if len(self._groups) >= _MOST_GROUPS:
                return _OTHER_GROUPS
            self._groups.add(group)
        return group
