"""What goes into a stream and what comes out of it, free of protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from xds.snapshot import Resource

WILDCARD = "*"

# What a state-of-the-world client says of itself that can be sent resources with a TTL.
WRAPPED_RESOURCES = "xds.config.supports-resource-in-sotw"

# What an Envoy calls itself, in `Node.user_agent`.
ENVOY = "envoy"


@dataclass(frozen=True, slots=True)
class Node:
    """Who is asking. `cluster` is the node group, whose snapshot this node gets."""

    id: str
    cluster: str
    user_agent: str = ""
    user_agent_version: str = ""
    region: str = ""
    zone: str = ""
    sub_zone: str = ""
    client_features: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What both dialects share. A NACK is a request with an `error`, and nothing else is one."""

    type_url: str = ""
    nonce: str = ""
    error: str | None = None
    node: Node | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SotwRequest(Request):
    """State of the world: `names` is the whole subscription, every time."""

    version: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest(Request):
    """Incremental. `initial_versions` counts on the first request of a type on a stream only."""

    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Response:
    """`version` is the set's for state of the world, the snapshot's for delta, where it only informs.

    `unresolved` are names that were asked for and that nothing bears, said in the way of virtual hosts. A `heartbeat`
    brings nothing new, only time to live; a `bare` one names its resources without their bodies. In a `wrapped` one
    each resource with a TTL is wrapped, as state of the world has no other place for it.
    """

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    heartbeat: bool = False
    bare: bool = False
    wrapped: bool = False

    @property
    def mentions(self) -> int:
        """How many names it holds."""
        return len(self.resources) + len(self.removed) + len(self.unresolved)


@dataclass(frozen=True, slots=True)
class Refused:
    """The request breaks the protocol; the stream must end with INVALID_ARGUMENT and this text."""

    reason: str


@dataclass(frozen=True, slots=True)
class Acked:
    """The proxy runs what `response` brought, `seconds` after it was sent."""

    response: Response
    seconds: float


@dataclass(frozen=True, slots=True)
class Nacked:
    """The proxy refused `response`, in its own words, `seconds` after it was sent."""

    response: Response
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StaleNonce:
    """A request answered something that has been superseded (state of the world) or is unknown (delta)."""

    type_url: str


@dataclass(frozen=True, slots=True)
class UnknownType:
    """A type that is not served was asked for; the rest of the stream goes on."""

    type_url: str


@dataclass(frozen=True, slots=True)
class GateExpired:
    """The proxy did not answer in time; what waited for its answer goes out without it."""

    type_urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Oversized:
    """A response would exceed what the client can receive, and was not sent."""

    type_url: str
    names: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class ClustersTaken:
    """On a stream of clusters alone the proxy has accepted changed ones, and waits for these endpoints of theirs.

    A stream of the same proxy that serves endpoints has to send them again (`Stream.supplied`).
    """

    endpoints: tuple[str, ...]


Event = Acked | Nacked | StaleNonce | UnknownType | GateExpired | Oversized | ClustersTaken
