"""Figures of the control plane. Labels are resource types by their short names and node groups, never node ids."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from xds.protocol.messages import Acked, Event, GateExpired, Nacked, Oversized, Response, StaleNonce, UnknownType
from xds.snapshot import SHORT_NAMES, Snapshot

# Envoys answer in milliseconds; one that warms a cluster without endpoints answers after 15 seconds.
_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
_UNKNOWN: Final = "unknown"


class XdsMetrics:
    """All metrics of one control plane."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"apibank_xds_{name}_total", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"apibank_xds_{name}", text, labels, registry=registry)

        self._streams = gauge("streams", "Open streams, by node group and dialect.", "group", "dialect")
        self._nodes = gauge("connected_nodes", "Connected proxies, by node group.", "group")
        self._pushes = counter("pushes", "Responses sent, by type.", "type")
        self._bytes = counter("pushed_bytes", "Bytes of resources sent, by type.", "type")
        self._acks = counter("acks", "Responses accepted by proxies, by type.", "type")
        self._nacks = counter("nacks", "Responses refused by proxies, by type.", "type")
        self._stale = counter("stale_nonces", "Requests that answered no response in flight, by type.", "type")
        self._unknown = counter("unknown_types", "Requests for a type that is not served.")
        self._expired = counter("gate_expirations", "Steps that went on without a proxy's answer, by its type.", "type")
        self._oversized = counter("oversized", "Responses not sent, as the client could not receive them.", "type")
        self._denied = counter("denied_streams", "Streams ended by the control plane, by gRPC status.", "status")
        self._seconds = Histogram(
            "apibank_xds_push_ack_seconds",
            "Time from sending a response to its acceptance, in seconds, by type.",
            ("type",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._resources = gauge(
            "resources", "Resources of the current snapshot, by node group and type.", "group", "type"
        )
        self._size = gauge("resource_bytes", "Their size in bytes.", "group", "type")
        self._published = counter("snapshots", "Snapshots published, by node group.", "group")

    def opened(self, group: str, dialect: str, nodes: int) -> None:
        self._streams.labels(group, dialect).inc()
        self._nodes.labels(group).set(nodes)

    def closed(self, group: str, dialect: str, nodes: int) -> None:
        self._streams.labels(group, dialect).dec()
        self._nodes.labels(group).set(nodes)

    def denied(self, status: str) -> None:
        self._denied.labels(status).inc()

    def pushed(self, response: Response) -> None:
        label = SHORT_NAMES[response.type_url]
        self._pushes.labels(label).inc()
        self._bytes.labels(label).inc(sum(len(resource.body) for resource in response.resources))

    def happened(self, event: Event) -> None:
        match event:
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
        self._published.labels(group).inc()
        for type_url, short in SHORT_NAMES.items():
            resources = snapshot.resources.get(type_url, {}).values()
            self._resources.labels(group, short).set(len(resources))
            self._size.labels(group, short).set(sum(len(resource.body) for resource in resources))
