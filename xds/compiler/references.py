"""What plain resources refer to, read from how people write them."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from xds.snapshot import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, SCOPED_ROUTE, SECRET, VIRTUAL_HOST

# Fields that hold the name of a resource, wherever they stand in a resource of these types.
_HOLDS_NAME: Final[Mapping[str, str]] = {
    "cluster": CLUSTER,
    "cluster_name": CLUSTER,
    "route_config_name": ROUTE,
    "route_configuration_name": ROUTE,
}
_REFERRING: Final = frozenset({LISTENER, ROUTE, SCOPED_ROUTE, VIRTUAL_HOST, EXTENSION})
# A message with this field names, in its `name`, a resource to be fetched.
_FETCHES: Final[Mapping[str, str]] = {"sds_config": SECRET, "config_discovery": EXTENSION}
_CAPITAL: Final = re.compile("[A-Z]")


def references(type_url: str, written: Mapping[str, object]) -> frozenset[tuple[str, str]]:
    """The (type URL, name) pairs that the resource may refer to; some name what comes from elsewhere, or nothing.

    `written` is in protobuf's JSON mapping, whose names of fields may be written in either case.
    """
    found = set(_found(written, follow_names=type_url in _REFERRING))
    if type_url == CLUSTER:
        fields = _fields(written)
        eds = _fields(fields.get("eds_cluster_config"))
        if fields.get("type") == "EDS" or eds:
            found.add((ENDPOINT, str(eds.get("service_name") or fields.get("name", ""))))
    return frozenset(found)


def _found(value: object, *, follow_names: bool) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for inner in value:
            yield from _found(inner, follow_names=follow_names)
    if not isinstance(value, Mapping):
        return
    fields = _fields(value)
    name = fields.get("name")
    for key, inner in fields.items():
        if key in _FETCHES and isinstance(name, str):
            yield _FETCHES[key], name
        if follow_names and key in _HOLDS_NAME and isinstance(inner, str):
            yield _HOLDS_NAME[key], inner
        if follow_names and key == "weighted_clusters":
            yield from _weighted(_fields(inner).get("clusters"))
        yield from _found(inner, follow_names=follow_names)


def _weighted(clusters: object) -> Iterator[tuple[str, str]]:
    for each in clusters if isinstance(clusters, list) else ():
        name = _fields(each).get("name")
        if isinstance(name, str):
            yield CLUSTER, name


def _fields(value: object) -> dict[str, object]:
    """The fields of a message under their names in its definition, whichever way they are written."""
    if not isinstance(value, Mapping):
        return {}
    return {_CAPITAL.sub(lambda capital: "_" + capital[0].lower(), str(key)): each for key, each in value.items()}
