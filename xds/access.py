"""Which node a peer may speak for, and where it may speak without saying who it is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from xds.protocol.messages import Node

# gRPC's name for the alternative names of the peer's verified certificate.
_ALTERNATIVE_NAMES = "x509_subject_alternative_name"


def denial(node: Node, peer: Mapping[str, Iterable[bytes]], trust_domain: str) -> str:
    """Why the peer's certificate does not make it this node; "" when it does.

    `peer` is gRPC's authentication context. The certificate names `spiffe://<trust_domain>/gateway/<cluster>`, which
    is any node of that group, or `…/gateway/<cluster>/<id>`, which is that node alone.
    """
    group = f"spiffe://{trust_domain}/gateway/{node.cluster}"
    names = {name.decode("utf-8", "replace") for name in peer.get(_ALTERNATIVE_NAMES, ())}
    # A group with a slash would read like a node of another group.
    if node.cluster and "/" not in node.cluster and names & {group, f"{group}/{node.id}"}:
        return ""
    return "the client certificate is not this node's"


def is_private(listen: str) -> bool:
    """Only this machine can reach `listen` (`HOST:PORT` or `unix:/path`)."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
