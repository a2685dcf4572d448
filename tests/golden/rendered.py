"""Compiled snapshots as plain data: what an Envoy reads, in the words of its documentation."""

from typing import Any

from xds import snapshot
from xds.compiler.shown import shown
from xds.snapshot import Snapshot


def rendered(compiled: Snapshot) -> dict[str, dict[str, Any]]:
    """Short type name (LDS, RDS ...) -> resource name -> the resource in protobuf's JSON form, secrets included."""
    return {
        snapshot.SHORT_NAMES[type_url]: {
            name: {field: value for field, value in _shown(type_url, resource.body).items() if field != "@type"}
            for name, resource in resources.items()
        }
        for type_url, resources in compiled.resources.items()
    }


def _shown(type_url: str, body: bytes) -> dict[str, Any]:
    return dict(shown(type_url, body, secrets=True))
