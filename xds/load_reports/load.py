"""What one report of a proxy says, free of protobuf."""

from dataclasses import dataclass

from xds.protocol.messages import Node


@dataclass(frozen=True, slots=True)
class ClusterLoad:
    """Requests to a cluster since the last report: answered below 500, failed, and refused before a host was chosen."""

    cluster: str
    successes: int
    errors: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Report:
    """`node` is None where the message leaves it out, which all but the first of a stream may."""

    node: Node | None
    loads: tuple[ClusterLoad, ...]
