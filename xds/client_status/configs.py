"""What one proxy shall run and what it says of it, resource by resource, in the words of Envoy's CSDS."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from xds.nodes import ROOTS, Connection
from xds.protocol.messages import WILDCARD, Node
from xds.protocol.subscription import Subscription
from xds.rollback import RolledBack
from xds.snapshot import PUSH_ORDER, Resource, Snapshot


class ConfigStatus(StrEnum):
    """As the control plane sees it: accepted, not sent, sent and not answered, refused."""

    SYNCED = "SYNCED"
    NOT_SENT = "NOT_SENT"
    STALE = "STALE"
    ERROR = "ERROR"


class ClientStatus(StrEnum):
    """As the proxy sees it: it waits, asks for what is not there, runs this or a former version, has refused it."""

    REQUESTED = "REQUESTED"
    DOES_NOT_EXIST = "DOES_NOT_EXIST"
    ACKED = "ACKED"
    NACKED = "NACKED"


@dataclass(frozen=True, slots=True)
class Failure:
    """What was refused: `details` are the proxy's words, `body` is the resource where it is still known."""

    version: str
    details: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class ResourceConfig:
    """`version` and `body` are of what the proxy shall run, or, where it has refused that, of what it runs instead.

    `version` is "" where there is none, `body` None where it is not there or nobody knows it any more. `updated` is
    in seconds since 1970.
    """

    type_url: str
    name: str
    status: ConfigStatus
    client: ClientStatus
    version: str = ""
    body: bytes | None = None
    updated: float | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ClientConfig:
    node: Node
    resources: tuple[ResourceConfig, ...]


# By type URL, name and version: since when it is served to the proxy's group, None if nobody knows.
Updated = Callable[[str, str, str], float | None]


def client_config(
    connections: Sequence[Connection],
    wanted: Snapshot | None,
    rolled_back: Iterable[RolledBack],
    updated: Updated,
) -> ClientConfig:
    """The state of the proxy that has these streams, of which there is at least one, the newest last.

    `wanted` is what it shall run, `rolled_back` what was taken back from its group. A resource that it refused and
    that was taken back stays an error of this proxy's until its content changes.
    """
    node = connections[-1].node
    subscriptions = {type_url: found for each in connections for type_url, found in each.stream.subscriptions.items()}
    for root in ROOTS:
        # What every proxy needs and this one has not asked for yet.
        if wanted is not None and root in wanted.resources and root not in subscriptions:
            subscriptions[root] = Subscription(root, wildcard=True)
    found = {
        (each.type_url, each.name): replace(each, updated=updated(each.type_url, each.name, each.version))
        for type_url in PUSH_ORDER
        if type_url in subscriptions
        for each in _of_type(subscriptions[type_url], wanted)
    }
    for taken in rolled_back:
        if node.id in taken.nodes and taken.type_url in subscriptions:
            unit = taken.type_url, taken.name
            found[unit] = _taken_back(taken, found.get(unit))
    return ClientConfig(node, tuple(found.values()))


def _of_type(subscription: Subscription, wanted: Snapshot | None) -> Iterator[ResourceConfig]:
    resources = wanted.resources.get(subscription.type_url, {}) if wanted else {}
    for resource in subscription.covered(resources):
        yield _of_resource(subscription, resource)
    # As long as the group has nothing at all, the proxy has not been told that something is missing.
    missing = ClientStatus.DOES_NOT_EXIST if wanted else ClientStatus.REQUESTED
    aliases = {alias for reached in subscription.reached.values() for alias in reached}
    for name in sorted(subscription.names - resources.keys() - aliases - subscription.collections - {WILDCARD}):
        yield ResourceConfig(subscription.type_url, name, ConfigStatus.NOT_SENT, missing)


def _of_resource(subscription: Subscription, resource: Resource) -> ResourceConfig:
    type_url, name, version = subscription.type_url, resource.name, resource.version
    accepted = subscription.acked.get(name, "")
    refusal = subscription.refused.get(name)
    if refusal is not None and refusal.version == version:
        failure = Failure(version, refusal.message, resource.body)
        return _refused(type_url, name, accepted, subscription.accepted.get(name), failure)
    if accepted == version:
        return ResourceConfig(type_url, name, ConfigStatus.SYNCED, ClientStatus.ACKED, version, resource.body)
    status = ConfigStatus.STALE if subscription.sent.get(name) == version else ConfigStatus.NOT_SENT
    client = ClientStatus.ACKED if accepted else ClientStatus.REQUESTED
    return ResourceConfig(type_url, name, status, client, version, resource.body)


def _refused(type_url: str, name: str, accepted: str, running: Resource | None, failure: Failure) -> ResourceConfig:
    body = running.body if running is not None and running.version == accepted else None
    return ResourceConfig(
        type_url, name, ConfigStatus.ERROR, ClientStatus.NACKED, accepted, body, updated=None, failure=failure
    )


def _taken_back(taken: RolledBack, served: ResourceConfig | None) -> ResourceConfig:
    """`served` is what the proxy shall run instead."""
    if served is None:
        served = ResourceConfig(taken.type_url, taken.name, ConfigStatus.ERROR, ClientStatus.NACKED)
    if served.failure is not None:
        return served
    return replace(
        served,
        status=ConfigStatus.ERROR,
        client=ClientStatus.NACKED,
        failure=Failure(taken.refused, taken.message),
    )
