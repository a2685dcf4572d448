"""Where the hosts of a cluster are."""

from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)

from xds.compiler.sources import address


def load_assignment(cluster: str, endpoints: tuple[str, ...]) -> ClusterLoadAssignment:
    """The hosts of a cluster. One without hosts is sent too: Envoy would wait for it, instead of answering 503."""
    hosts = [LbEndpoint(endpoint=Endpoint(address=address(endpoint))) for endpoint in endpoints]
    return ClusterLoadAssignment(
        cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=hosts)] if hosts else []
    )
