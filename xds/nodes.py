"""Who is connected, what each proxy runs, and what it refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from xds.protocol.messages import Node
from xds.protocol.stream import Stream
from xds.protocol.subscription import ABSENT, Refusal, Subscription
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
        # By group, by node id: its connections, the oldest first.
        self._by_group: dict[str, dict[str, list[Connection]]] = {}

    def add(self, node: Node, peer: str, stream: Stream[Any]) -> Connection:
        connection = Connection(next(self._numbers), node, peer, stream)
        self._by_group.setdefault(node.cluster, {}).setdefault(node.id, []).append(connection)
        return connection

    def remove(self, connection: Connection) -> None:
        group = self._by_group[connection.node.cluster]
        own = group[connection.node.id]
        own.remove(connection)
        if not own:
            del group[connection.node.id]
        if not group:
            del self._by_group[connection.node.cluster]

    def groups(self) -> list[str]:
        return sorted(self._by_group)

    def ids(self, group: str) -> list[str]:
        """Of the group's connected proxies."""
        return sorted(self._by_group.get(group, ()))

    def count(self, group: str) -> int:
        """Proxies, not streams."""
        return len(self._by_group.get(group, ()))

    def connections(self, group: str) -> Iterator[Connection]:
        """All of the group, in no order."""
        return itertools.chain.from_iterable(self._by_group.get(group, {}).values())

    def connections_of(self, group: str, node_id: str) -> tuple[Connection, ...]:
        """The streams of one proxy, the oldest first."""
        return tuple(self._by_group.get(group, {}).get(node_id, ()))

    def live(self, group: str) -> dict[str, str | None]:
        """By node id: the version of the snapshot that the node runs entirely."""
        return {node_id: _live(connections) for node_id, connections in self._by_node(group)}

    def live_of(self, group: str, node_ids: Iterable[str]) -> dict[str, str | None]:
        """`live` of those of these nodes that are connected."""
        by_id = self._by_group.get(group, {})
        return {node_id: _live(by_id[node_id]) for node_id in node_ids if node_id in by_id}

    def answered(self, group: str, node_id: str) -> str | None:
        """The version of the snapshot that the node has wholly accepted or refused, None while it owes an answer."""
        return _answered(self._by_group.get(group, {}).get(node_id, []))

    def status(self, group: str) -> list[NodeStatus]:
        synced: _Synced = {}
        return [_status(connections, synced) for _, connections in self._by_node(group)]

    def refusals(self, group: str, version: str) -> dict[str, tuple[ResourceStatus, ...]]:
        """By node id: what the node refuses of the snapshot of this version."""
        refused = {}
        for node_id, connections in self._by_node(group):
            # A stream that has yet to take the snapshot up knows only of refusals of former ones.
            told = [each for each in connections if each.stream.target and each.stream.target.version == version]
            if of_node := tuple(_refused(told)):
                refused[node_id] = of_node
        return refused

    def votes(self, group: str, resource: tuple[str, str, str], *, besides: Container[str]) -> tuple[int, int]:
        """How many nodes have accepted this (type URL, name, version), and how many have it and owe an answer.

        The nodes `besides` are not counted.
        """
        type_url, name, version = resource
        accepted = owing = 0
        for node_id, connections in self._by_group.get(group, {}).items():
            speaking = next((each for each in reversed(connections) if type_url in each.stream.subscriptions), None)
            if speaking is None or node_id in besides:
                continue
            subscription = speaking.stream.subscriptions[type_url]
            if subscription.acked.get(name) == version:
                accepted += 1
            elif subscription.sent.get(name) == version or subscription.covers(name):
                owing += 1
        return accepted, owing

    def accepts(self, group: str, resource: tuple[str, str, str]) -> bool:
        """Some node of the group runs this (type URL, name, version)."""
        type_url, name, version = resource
        for connection in self.connections(group):
            subscription = connection.stream.subscriptions.get(type_url)
            if subscription is not None and subscription.acked.get(name) == version:
                return True
        return False

    def _by_node(self, group: str) -> list[tuple[str, list[Connection]]]:
        return sorted(self._by_group.get(group, {}).items())


def _speaking(connections: Iterable[Connection]) -> dict[str, Connection]:
    """By type URL: the newest stream on which the proxy subscribes to the type; an older one may be half dead."""
    return {type_url: each for each in connections for type_url in each.stream.subscriptions}


def _live(connections: list[Connection]) -> str | None:
    if len(connections) == 1 and not connections[0].stream.live:
        # Most proxies have one stream, and while a change goes out most have yet to answer.
        return None
    speaking = _speaking(connections)
    if not speaking or not all(connection.stream.live for connection in speaking.values()):
        return None
    targets = [connection.stream.target for connection in speaking.values()]
    target = targets[0]
    if target is None or any(other is None or other.version != target.version for other in targets):
        return None
    return None if any(root in target.resources and root not in speaking for root in ROOTS) else target.version


def _answered(connections: list[Connection]) -> str | None:
    if not connections or (live := _live(connections)) is not None:
        return live if connections else None
    speaking = _speaking(connections)
    targets = {each.stream.target.version: each.stream.target for each in speaking.values() if each.stream.target}
    if len(targets) != 1 or not all(each.stream.target for each in speaking.values()):
        return None
    ((version, target),) = targets.items()
    if any(root in target.resources and root not in speaking for root in ROOTS):
        return None
    subscriptions = [(each.stream.subscriptions[type_url], target) for type_url, each in speaking.items()]
    return version if all(_has_answered(*each) for each in subscriptions) else None


def _has_answered(subscription: Subscription, target: Snapshot) -> bool:
    if subscription.pending or subscription.asked or subscription.greeting or subscription.in_flight:
        return False
    refused = subscription.refused
    return all(
        subscription.acked.get(each.name) == each.version
        or (each.name in refused and refused[each.name].version == each.version)
        or each.name in subscription.held
        for each in subscription.covered(target.resources.get(subscription.type_url, {}))
    )


def _refused(connections: Iterable[Connection]) -> Iterator[ResourceStatus]:
    for type_url, connection in _speaking(connections).items():
        subscription, target = connection.stream.subscriptions[type_url], connection.stream.target
        there = target.resources.get(type_url, {}) if target else {}
        for name in sorted(subscription.refused):
            if name in there and subscription.refused[name].version == there[name].version:
                yield _resource_status(subscription, name, there[name].version)


def refused_by(
    connection: Connection, known: Callable[[tuple[str, str, str]], bool]
) -> Iterator[tuple[str, str, Refusal]]:
    """Type URL, name and refusal of what the proxy refuses on this stream, the newest first, up to what is `known`.

    Of a set that was refused together, those that the proxy's words name, if they name any: an Envoy lists whatever
    it could not take. A refused removal is left out, as there is no content to blame.
    """
    for type_url, subscription in connection.stream.subscriptions.items():
        refused = subscription.refused
        # By the proxy's words. Thousands may be refused with the same, so each name is looked for once.
        named: dict[str, set[str]] = {}
        for name, one in reversed(refused.items()):
            if known((type_url, name, one.version)):
                break
            if not one.sole and one.message not in named:
                named[one.message] = {
                    other
                    for other, each in refused.items()
                    if each.message == one.message and _names(one.message, other)
                }
            if one.version != ABSENT and (one.sole or name in named[one.message] or not named[one.message]):
                yield type_url, name, one


def _names(message: str, name: str) -> bool:
    """As in `Error adding/updating listener(s) one: address in use, two: no filters`."""
    said = f"{name}: "
    at = message.find(said)
    while at > 0 and not message[at - 1].isspace():
        at = message.find(said, at + 1)
    return at >= 0


# The status of a type on all proxies that run it and asked for the same of it, by set version, type and names.
_Synced = dict[tuple[str, str, frozenset[str] | None], TypeStatus]


def _status(connections: list[Connection], synced: _Synced) -> NodeStatus:
    newest = connections[-1]
    speaking = _speaking(connections)
    types = []
    for type_url in PUSH_ORDER:
        if type_url in speaking:
            stream = speaking[type_url].stream
            if stream.target is not None:
                types.append(_shared_status(stream, stream.subscriptions[type_url], stream.target, synced))
        elif type_url in ROOTS and newest.stream.target and type_url in newest.stream.target.resources:
            types.append(_type_status(Subscription(type_url, wildcard=True), newest.stream.target))
    peers = tuple(connection.peer for connection in connections)
    return NodeStatus(newest.node, newest.node.cluster, peers, _live(connections), tuple(types))


def _shared_status(stream: Stream[Any], subscription: Subscription, target: Snapshot, synced: _Synced) -> TypeStatus:
    """Computed once for all proxies that have everything they asked for."""
    if not stream.live:
        return _type_status(subscription, target)
    names = None if subscription.wildcard else frozenset(subscription.names)
    key = (target.of_type(subscription.type_url).version, subscription.type_url, names)
    if key not in synced:
        synced[key] = _type_status(subscription, target)
    return synced[key]


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
