"""Compiled snapshots as plain data: what an Envoy reads, in the words of its documentation."""

from typing import Any

from xds import snapshot
from xds.compiler.static import plain_resources
from xds.snapshot import Snapshot


def rendered(compiled: Snapshot) -> dict[str, dict[str, Any]]:
    """Short type name (LDS, RDS ...) -> resource name -> the resource in protobuf's JSON form, secrets included."""
    plain = plain_resources(compiled, secrets=True)
    return {snapshot.SHORT_NAMES[type_url]: dict(resources) for type_url, resources in plain.items()}
