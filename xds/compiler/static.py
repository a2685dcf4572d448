"""A snapshot as the bootstrap of an Envoy that has no control plane: every reference by ADS made a static one.

Envoy's own validation takes such a one (`envoy --mode validate`), and people can read it, or run it by hand.
"""

from collections.abc import Collection, Mapping
from typing import Final

from pydantic import JsonValue

from xds.compiler.shown import Shown, shown
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Snapshot

_NODE: Final = "validation"
_TYPE: Final = "@type"
Plain = Mapping[str, Mapping[str, Shown]]


def plain_resources(snapshot: Snapshot, *, secrets: bool) -> Plain:
    """Type URL -> name -> the resource as a bootstrap may hold it; with `secrets` the private keys are in it."""
    return {
        type_url: {name: _untyped(shown(type_url, each.body, secrets=secrets)) for name, each in resources.items()}
        for type_url, resources in snapshot.resources.items()
    }


def bootstrap(resources: Plain, only: Collection[tuple[str, str]] | None = None) -> Shown:
    """With the listeners and clusters that `only` names, by type URL and name; with all of them where it is None.

    A listener holds its routes and a cluster its endpoints; secrets are there in any case. That routes lead to
    clusters that exist is left to the consistency check.
    """

    def chosen(type_url: str) -> list[JsonValue]:
        named = resources.get(type_url, {})
        return [_inline(each, resources) for name, each in named.items() if only is None or (type_url, name) in only]

    return {
        "node": {"id": _NODE, "cluster": _NODE},
        "static_resources": {
            "listeners": chosen(LISTENER),
            "clusters": chosen(CLUSTER),
            "secrets": list(resources.get(SECRET, {}).values()),
        },
    }


def with_routes(resources: Plain, name: str, keep: Collection[int]) -> Plain:
    """The same with only these routes, by their number, in each virtual host of a route configuration."""
    configuration = dict(resources[ROUTE][name])
    hosts = configuration.get("virtual_hosts")
    kept: list[JsonValue] = [
        {**host, "routes": [one for at, one in enumerate(_routes(host)) if at in keep]}
        for host in (hosts if isinstance(hosts, list) else [])
        if isinstance(host, dict)
    ]
    return {**resources, ROUTE: {**resources[ROUTE], name: {**configuration, "virtual_hosts": kept}}}


def route_names(resources: Plain, name: str) -> list[str]:
    """The names of a route configuration's routes, in their order; its one virtual host has all of them."""
    hosts = resources.get(ROUTE, {}).get(name, {}).get("virtual_hosts")
    found = (
        [one for host in hosts if isinstance(host, dict) for one in _routes(host)] if isinstance(hosts, list) else []
    )
    return [str(one.get("name", "")) if isinstance(one, dict) else "" for one in found]


def _routes(host: Mapping[str, JsonValue]) -> list[JsonValue]:
    routes = host.get("routes")
    return routes if isinstance(routes, list) else []


def _inline(node: JsonValue, resources: Plain) -> JsonValue:
    if isinstance(node, list):
        return [_inline(item, resources) for item in node]
    if not isinstance(node, dict):
        return node
    result: Shown = {}
    for key, value in node.items():
        if key == "rds" and isinstance(value, dict):
            routes = resources[ROUTE][str(value["route_config_name"])]
            # An Envoy asks this of static routes alone, and a part of the clusters may be left out.
            result["route_config"] = {**routes, "validate_clusters": False}
        elif key == "eds_cluster_config":
            result["load_assignment"] = resources[ENDPOINT][str(node["name"])]
        elif key == "type" and value == "EDS":
            result["type"] = "STATIC"
        elif key != "sds_config":
            # A secret without a source is one of static_resources.secrets.
            result[key] = _inline(value, resources)
    return result


def _untyped(resource: Shown) -> Shown:
    return {field: value for field, value in resource.items() if field != _TYPE}
