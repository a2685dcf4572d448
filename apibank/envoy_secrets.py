"""By what an Envoy and the control plane know each other, so that certificates can be renewed while it runs.

Envoy watches files of certificates only where they are secrets (SDS): those that stand in its bootstrap it reads once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from apibank.certificates import KeyPair
from apibank.private_files import private_directory, write_private

_TYPE_URL: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
_NODE: Final = "node"
_AUTHORITY: Final = "authority"


@dataclass(frozen=True, slots=True)
class ControlPlaneTls:
    """How an Envoy proves who it is to the control plane, and whom it accepts as one (XDS over TCP).

    `folder`: where `write_secrets` has put what makes it see files that are renewed; None: it reads them once.
    """

    client: KeyPair
    ca_file: Path
    server_identity: str
    folder: Path | None = None


def proofs(tls: ControlPlaneTls) -> Mapping[str, object]:
    """What of a TLS context says who one is, and whom one accepts."""
    accepted = [{"san_type": "URI", "matcher": {"exact": tls.server_identity}}]
    if tls.folder is None:
        trusted = {"trusted_ca": {"filename": str(tls.ca_file)}}
        return {
            "tls_certificates": [_pair(tls.client)],
            "validation_context": {**trusted, "match_typed_subject_alt_names": accepted},
        }
    return {
        "tls_certificate_sds_secret_configs": [_reference(tls.folder, _NODE)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": accepted},
            "validation_context_sds_secret_config": _reference(tls.folder, _AUTHORITY),
        },
    }


def write_secrets(tls: ControlPlaneTls, folder: Path) -> None:
    """Write the secrets that a bootstrap with `folder` refers to. They name files, and hold none of their content."""
    authority = {
        "trusted_ca": {"filename": str(tls.ca_file)},
        "watched_directory": {"path": str(tls.ca_file.parent)},
    }
    node = {**_pair(tls.client), "watched_directory": {"path": str(tls.client.chain_file.parent)}}
    private_directory(folder)
    for name, content in ((_NODE, {"tls_certificate": node}), (_AUTHORITY, {"validation_context": authority})):
        resources = [{"@type": _TYPE_URL, "name": name, **content}]
        write_private(folder / f"{name}.yaml", json.dumps({"resources": resources}, indent=2).encode() + b"\n")


def _pair(pair: KeyPair) -> dict[str, object]:
    return {
        "certificate_chain": {"filename": str(pair.chain_file)},
        "private_key": {"filename": str(pair.key_file)},
    }


def _reference(folder: Path, name: str) -> dict[str, object]:
    source = {"path_config_source": {"path": str(folder / f"{name}.yaml")}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}
