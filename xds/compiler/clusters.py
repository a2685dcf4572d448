"""Upstreams and the gateway's own services as clusters.

Hosts with addresses come by EDS, so that they change without touching the cluster; hosts with names are resolved by
Envoy. The services' hosts are part of the cluster: a gateway has its own, and they do not move.
"""

import ipaddress
from datetime import timedelta

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterEdsClusterConfig,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamProtocolOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsExplicitHttpConfig as Explicit
from envoy_data_plane.google.protobuf import Any as PackedMessage

from policy.edge import Protocol, Upstream
from xds.compiler.encode import pack
from xds.compiler.endpoints import load_assignment
from xds.compiler.sources import ads
from xds.compiler.tls import upstream_tls

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SERVICE_REQUESTS = 8192


def upstream_cluster(name: str, upstream: Upstream) -> Cluster:
    cluster = Cluster(
        name=name,
        connect_timeout=timedelta(milliseconds=upstream.connect_timeout_ms),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        circuit_breakers=_bounds(upstream.max_connections, upstream.max_requests),
        outlier_detection=_unreachable_hosts(),
        typed_extension_protocol_options={_PROTOCOL_OPTIONS: _upstream_protocol(upstream.protocol)},
    )
    if upstream.tls is not None:
        alpn = "h2" if upstream.protocol is Protocol.HTTP2 else "http/1.1"
        cluster.transport_socket = upstream_tls(upstream.tls, alpn)
    if comes_by_eds(upstream):
        cluster.type = ClusterDiscoveryType.EDS
        cluster.eds_cluster_config = ClusterEdsClusterConfig(eds_config=ads())
    else:
        _resolve_names(cluster, upstream.endpoints)
    return cluster


def service_cluster(name: str, endpoint: str) -> Cluster:
    """The cluster of authz or ratelimit. It sends no keepalive pings: gRPC servers close connections that do."""
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(milliseconds=250),
        circuit_breakers=_bounds(_SERVICE_REQUESTS, _SERVICE_REQUESTS),
        typed_extension_protocol_options={
            _PROTOCOL_OPTIONS: pack(
                UpstreamProtocolOptions(explicit_http_config=Explicit(http2_protocol_options=Http2ProtocolOptions()))
            )
        },
    )
    if is_host_name(endpoint):
        _resolve_names(cluster, (endpoint,))
    else:
        cluster.load_assignment = load_assignment(name, (endpoint,))
    return cluster


def comes_by_eds(upstream: Upstream) -> bool:
    return not any(is_host_name(endpoint) for endpoint in upstream.endpoints)


def is_host_name(endpoint: str) -> bool:
    if endpoint.startswith("unix:"):
        return False
    try:
        ipaddress.ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return True
    return False


def _resolve_names(cluster: Cluster, endpoints: tuple[str, ...]) -> None:
    cluster.type = ClusterDiscoveryType.STRICT_DNS
    cluster.dns_lookup_family = ClusterDnsLookupFamily.V4_PREFERRED
    cluster.respect_dns_ttl = True
    cluster.load_assignment = load_assignment(cluster.name, endpoints)


def _bounds(connections: int, requests: int) -> CircuitBreakers:
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=connections, max_pending_requests=requests, max_requests=requests, max_retries=64
            )
        ]
    )


def _unreachable_hosts() -> OutlierDetection:
    """Skip a host that cannot be reached, for some seconds. What a service answers never takes it out."""
    return OutlierDetection(
        split_external_local_origin_errors=True,
        consecutive_local_origin_failure=5,
        enforcing_consecutive_local_origin_failure=100,
        enforcing_consecutive_5xx=0,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        enforcing_local_origin_success_rate=0,
        base_ejection_time=timedelta(seconds=5),
        max_ejection_time=timedelta(seconds=30),
        max_ejection_percent=50,
    )


def _upstream_protocol(protocol: Protocol) -> PackedMessage:
    common = HttpProtocolOptions(
        # Many HTTP/1.1 servers close an idle connection after 5 s; one must not be taken up again just then.
        idle_timeout=timedelta(seconds=300 if protocol is Protocol.HTTP2 else 4),
        # Pooled connections keep the certificates they began with; their age bounds how long.
        max_connection_duration=timedelta(seconds=600),
    )
    if protocol is Protocol.HTTP2:
        keepalive = KeepaliveSettings(interval=timedelta(seconds=30), timeout=timedelta(seconds=5))
        explicit = Explicit(http2_protocol_options=Http2ProtocolOptions(connection_keepalive=keepalive))
    else:
        explicit = Explicit(http_protocol_options=Http1ProtocolOptions())
    return pack(UpstreamProtocolOptions(common_http_protocol_options=common, explicit_http_config=explicit))
