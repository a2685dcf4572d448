"""What lets Prometheus on another host have an Envoy's figures, and nothing else of its admin, which is on loopback."""

from collections.abc import Mapping
from typing import Final

_HTTP: Final = "type.googleapis.com/envoy.extensions.filters"
_PATH: Final = "/stats/prometheus"


def metrics_listener(address: Mapping[str, str | int]) -> dict[str, object]:
    """The listener, for a bootstrap: it answers GET of the figures from the cluster `admin`, also at the cap."""
    only = {"path": _PATH, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}
    routes = [{"match": only, "route": {"cluster": "admin", "timeout": "5s"}}]
    manager = {
        "@type": f"{_HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "metrics",
        "request_headers_timeout": "5s",
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_HTTP}.http.router.v3.Router"}}
        ],
        "route_config": {
            "name": "metrics",
            "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": routes}],
        },
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": "metrics",
        "address": {"socket_address": dict(address)},
        "ignore_global_conn_limit": True,
        "filter_chains": [chain],
    }


def admin_cluster(address: Mapping[str, str | int]) -> dict[str, object]:
    """The Envoy's own admin, as a cluster of its bootstrap."""
    endpoint = {"endpoint": {"address": {"socket_address": dict(address)}}}
    assignment = {"cluster_name": "admin", "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": "admin", "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}
