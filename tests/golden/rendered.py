"""Compiled snapshots as plain data: what an Envoy reads, in the words of its documentation."""

import json
from collections.abc import Mapping
from typing import Any

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from xds import snapshot
from xds.snapshot import Snapshot

_CLASSES: Mapping[str, Any] = {
    snapshot.CLUSTER: Cluster,
    snapshot.ENDPOINT: ClusterLoadAssignment,
    snapshot.LISTENER: Listener,
    snapshot.ROUTE: RouteConfiguration,
    snapshot.SECRET: Secret,
}


def rendered(compiled: Snapshot) -> dict[str, dict[str, Any]]:
    """Short type name (LDS, RDS ...) -> resource name -> the resource in protobuf's JSON form."""
    return {
        snapshot.SHORT_NAMES[type_url]: {
            # `casing` takes any function of a field's name: protobuf's own names are the ones in Envoy's documentation.
            name: _plain(_CLASSES[type_url].parse(resource.body).to_dict(casing=str))
            for name, resource in resources.items()
        }
        for type_url, resources in compiled.resources.items()
    }


def _plain(message: Any) -> Any:
    # Through JSON, so that nothing but plain data is left.
    return json.loads(json.dumps(message))
