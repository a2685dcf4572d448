"""Who is connected, what each proxy runs, and what it refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from xds.protocol.messages import Node
from xds.protocol.stream import Stream
from xds.protocol.subscription import Subscription
from xds.snapshot import CLUSTER, LISTENER, PUSH_ORDER, Origin, Snapshot

# What a proxy asks for first, and cannot be said to run the configuration without.
ROOTS: Final = (CLUSTER, LISTENER)


class State(StrEnum):
    """In the words of Envoy's client status discovery service."""

    SYNCED = "SYNCED"
    NOT_SENT = "NOT SENT"
    STALE = "STALE"
    REJECTED = "REJECTED"


# The worst of a type's resources stands for the type.
_WORST_FIRST: Final = (State.REJECTED, State.NOT_SENT, State.STALE, State.SYNCED)


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource on one proxy: `version` is the one it shall run, `accepted` the one that it runs, if any.

    `message` is the proxy's refusal and `origin` the place in the policy that was refused.
    """

    name: str
    state: State
    version: str
    accepted: str | None
    message: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """`version` is the digest of all resources of the type in the proxy's snapshot."""

    type_url: str
    state: State
    version: str
    resources: tuple[ResourceStatus, ...]


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """`live` is the version of the snapshot that the proxy runs entirely, None while it runs no single one."""

    node: Node
    group: str
    peers: tuple[str, ...]
    live: str | None
    types: tuple[TypeStatus, ...]

    @property
    def refused(self) -> tuple[ResourceStatus, ...]:
        return tuple(each for kind in self.types for each in kind.resources if each.state is State.REJECTED)


@dataclass(frozen=True, slots=True, eq=False)
class Connection:
    """One stream of a proxy; a proxy may have several, and an old one may be half dead. `number` grows."""

    number: int
    node: Node
    peer: str
    stream: Stream[Any]


class Nodes:
    """The connected proxies by node group."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._by_group: dict[str, dict[int, Connection]] = {}

    def add(self, node: Node, peer: str, stream: Stream[Any]) -> Connection:
        connection = Connection(next(self._numbers), node, peer, stream)
        self._by_group.setdefault(node.cluster, {})[connection.number] = connection
        return connection

    def remove(self, connection: Connection) -> None:
        group = self._by_group[connection.node.cluster]
        del group[connection.number]
        if not group:
            del self._by_group[connection.node.cluster]

    def groups(self) -> list[str]:
        return sorted(self._by_group)

    def count(self, group: str) -> int:
        """Proxies, not streams."""
        return len({connection.node.id for connection in self._by_group.get(group, {}).values()})

    def live(self, group: str) -> dict[str, str | None]:
        """By node id: the version of the snapshot that the node runs entirely."""
        return {node_id: _live(connections) for node_id, connections in self._by_node(group)}

    def status(self, group: str) -> list[NodeStatus]:
        return [_status(connections) for _, connections in self._by_node(group)]

    def refusals(self, group: str, version: str) -> dict[str, tuple[ResourceStatus, ...]]:
        """By node id: what the node refused of the snapshot of this version."""
        refused = {}
        for node_id, connections in self._by_node(group):
            # A stream that has yet to take the snapshot up knows only of refusals of former ones.
            told = [each for each in connections if each.stream.target and each.stream.target.version == version]
            if told and (of_node := _status(told).refused):
                refused[node_id] = of_node
        return refused

    def _by_node(self, group: str) -> Iterator[tuple[str, list[Connection]]]:
        connections = sorted(
            self._by_group.get(group, {}).values(), key=lambda connection: (connection.node.id, connection.number)
        )
        for node_id, own in itertools.groupby(connections, key=lambda connection: connection.node.id):
            yield node_id, list(own)


def _speaking(connections: Iterable[Connection]) -> dict[str, Connection]:
    """By type URL: the newest stream on which the proxy subscribes to the type; an older one may be half dead."""
    return {type_url: each for each in connections for type_url in each.stream.subscriptions}


def _live(connections: list[Connection]) -> str | None:
    speaking = _speaking(connections)
    if not speaking or not all(connection.stream.live for connection in speaking.values()):
        return None
    targets = [connection.stream.target for connection in speaking.values()]
    target = targets[0]
    if target is None or any(other is None or other.version != target.version for other in targets):
        return None
    return None if any(root in target.resources and root not in speaking for root in ROOTS) else target.version


def _status(connections: list[Connection]) -> NodeStatus:
    newest = connections[-1]
    speaking = _speaking(connections)
    types = []
    for type_url in PUSH_ORDER:
        if type_url in speaking:
            stream = speaking[type_url].stream
            if stream.target is not None:
                types.append(_type_status(stream.subscriptions[type_url], stream.target))
        elif type_url in ROOTS and newest.stream.target and type_url in newest.stream.target.resources:
            types.append(_type_status(Subscription(type_url, wildcard=True), newest.stream.target))
    peers = tuple(connection.peer for connection in connections)
    return NodeStatus(newest.node, newest.node.cluster, peers, _live(connections), tuple(types))


def _type_status(subscription: Subscription, target: Snapshot) -> TypeStatus:
    wanted = target.of_type(subscription.type_url)
    resources = tuple(
        _resource_status(subscription, each.name, each.version) for each in subscription.covered(wanted.resources)
    )
    states = {each.state for each in resources}
    state = next((each for each in _WORST_FIRST if each in states), State.SYNCED)
    return TypeStatus(subscription.type_url, state, wanted.version, resources)


def _resource_status(subscription: Subscription, name: str, version: str) -> ResourceStatus:
    accepted = subscription.acked.get(name)
    refusal = subscription.refused.get(name)
    if refusal is not None and refusal.version == version:
        origin = refusal.resource.origin if refusal.resource else None
        return ResourceStatus(name, State.REJECTED, version, accepted, refusal.message, origin)
    if accepted == version:
        return ResourceStatus(name, State.SYNCED, version, accepted)
    state = State.STALE if subscription.sent.get(name) == version else State.NOT_SENT
    return ResourceStatus(name, state, version, accepted)
