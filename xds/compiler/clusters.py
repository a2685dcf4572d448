"""Upstreams and the gateway's own services as clusters.

Hosts with addresses come by EDS, so that they change without touching the cluster; hosts with names are resolved by
Envoy. The services' hosts are part of the cluster: a gateway has its own, and they do not move.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterCustomClusterType,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
    ClusterLeastRequestLbConfig,
    ClusterRoundRobinLbConfig,
    ClusterSlowStartConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
)
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamProtocolOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig as Explicit
from envoy_data_plane.google.protobuf import Any as PackedMessage

from policy.edge import Protocol, Upstream
from policy.kinds import is_host_name
from policy.resilience import AddressFamily, Bounds, DnsResolution, LoadBalancing
from xds.compiler.encode import pack
from xds.compiler.endpoints import load_assignment
from xds.compiler.resilience import bounds, health_checks, outlier_detection
from xds.compiler.sources import ads
from xds.compiler.tls import upstream_tls

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SERVICE_REQUESTS: Final = 8192
_SERVICE_BOUNDS: Final = Bounds.model_validate(
    {"max_connections": _SERVICE_REQUESTS, "max_requests": _SERVICE_REQUESTS}
)
_DNS: Final = DnsResolution.model_validate({})
_DNS_CLUSTER: Final = "envoy.cluster.dns"
_FAMILIES: Final[Mapping[AddressFamily, DnsLookupFamily]] = {
    AddressFamily.V4_PREFERRED: DnsLookupFamily.V4_PREFERRED,
    AddressFamily.V4: DnsLookupFamily.V4_ONLY,
    AddressFamily.V6: DnsLookupFamily.V6_ONLY,
    AddressFamily.ALL: DnsLookupFamily.ALL,
}


def upstream_cluster(name: str, upstream: Upstream) -> Cluster:
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(milliseconds=upstream.connect_timeout_ms),
        circuit_breakers=bounds(upstream),
        outlier_detection=outlier_detection(upstream.outlier_detection),
        health_checks=health_checks(name, upstream.health_check, upstream.protocol),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: _upstream_protocol(upstream.protocol)},
    )
    _balance(cluster, upstream)
    if upstream.tls is not None:
        alpn = "h2" if upstream.protocol is Protocol.HTTP2 else "http/1.1"
        cluster.transport_socket = upstream_tls(upstream.tls, alpn)
    if comes_by_eds(upstream):
        cluster.type = ClusterDiscoveryType.EDS
        cluster.eds_cluster_config = ClusterEdsClusterConfig(eds_config=ads())
        # Who takes a host away means it. Envoy would keep sending to it for as long as it answers health checks.
        cluster.ignore_health_on_host_removal = bool(cluster.health_checks)
    else:
        _resolve_names(cluster, upstream.endpoints, upstream.dns or _DNS)
    return cluster


def service_cluster(name: str, endpoint: str) -> Cluster:
    """The cluster of one of the gateway's own services.

    It sends no keepalive pings: gRPC servers close connections that do.
    """
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(milliseconds=250),
        circuit_breakers=bounds(_SERVICE_BOUNDS),
        typed_extension_protocol_options={
            _PROTOCOL_OPTIONS: pack(
                UpstreamProtocolOptions(explicit_http_config=Explicit(http2_protocol_options=Http2ProtocolOptions()))
            )
        },
    )
    if is_host_name(endpoint):
        _resolve_names(cluster, (endpoint,), _DNS)
    else:
        cluster.type = ClusterDiscoveryType.STATIC
        cluster.load_assignment = load_assignment(name, (endpoint,))
    return cluster


def comes_by_eds(upstream: Upstream) -> bool:
    """Whether the hosts are a resource of their own, and can change without their cluster."""
    return not upstream.named_hosts


def _balance(cluster: Cluster, upstream: Upstream) -> None:
    slow = upstream.slow_start and ClusterSlowStartConfig(
        slow_start_window=timedelta(milliseconds=upstream.slow_start.window_ms)
    )
    match upstream.load_balancing:
        case LoadBalancing.LEAST_REQUEST:
            cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
            if slow:
                cluster.least_request_lb_config = ClusterLeastRequestLbConfig(slow_start_config=slow)
        case LoadBalancing.ROUND_ROBIN:
            cluster.lb_policy = ClusterLbPolicy.ROUND_ROBIN
            if slow:
                cluster.round_robin_lb_config = ClusterRoundRobinLbConfig(slow_start_config=slow)
        case LoadBalancing.RANDOM:
            cluster.lb_policy = ClusterLbPolicy.RANDOM


def _resolve_names(cluster: Cluster, endpoints: tuple[str, ...], dns: DnsResolution) -> None:
    # Every address of a name is a host of its own, and hosts that are gone from the answer are let go.
    resolution = DnsCluster(
        dns_refresh_rate=timedelta(seconds=dns.refresh_seconds),
        respect_dns_ttl=dns.respect_ttl,
        dns_lookup_family=_FAMILIES[dns.family],
    )
    cluster.cluster_type = ClusterCustomClusterType(name=_DNS_CLUSTER, typed_config=pack(resolution))
    cluster.load_assignment = load_assignment(cluster.name, endpoints)


def _upstream_protocol(protocol: Protocol) -> PackedMessage:
    common = HttpProtocolOptions(
        # Many HTTP/1.1 servers close an idle connection after 5 s; one must not be taken up again just then.
        idle_timeout=timedelta(seconds=300 if protocol is Protocol.HTTP2 else 4),
        # Pooled connections keep the certificates they began with; their age bounds how long.
        max_connection_duration=timedelta(seconds=600),
    )
    if protocol is Protocol.HTTP2:
        # How long requests wait on a connection that a partition has cut without a word.
        keepalive = KeepaliveSettings(interval=timedelta(seconds=5), timeout=timedelta(seconds=2))
        explicit = Explicit(http2_protocol_options=Http2ProtocolOptions(connection_keepalive=keepalive))
    else:
        explicit = Explicit(http_protocol_options=Http1ProtocolOptions())
    return pack(UpstreamProtocolOptions(common_http_protocol_options=common, explicit_http_config=explicit))
