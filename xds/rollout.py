"""Where one node group stands: what it shall run, what it has proven, what it refused, and its canary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from xds.nodes import ResourceStatus, State
from xds.protocol.subscription import Refusal
from xds.rollback import RolledBack, Unit, without_refused
from xds.snapshot import Origin, Resource, Snapshot

Version = tuple[str, str, str]
"""A type URL, a name and the version of one content."""


@dataclass(slots=True)
class Ballot:
    """Who refused one version of a resource, by node id, and in which words.

    While `patient`, those that have it and have not answered are counted as if they accepted.
    """

    origin: Origin | None
    messages: dict[str, str] = field(default_factory=dict)
    patient: bool = True
    timed: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Canary:
    """A candidate that only some proxies of a group run. `nodes` are their ids, sorted; they keep it if they reconnect.

    `refused` grows while it runs: by node id, what the node has refused of it.
    """

    snapshot: Snapshot
    percent: int
    nodes: tuple[str, ...]
    refused: dict[str, tuple[ResourceStatus, ...]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        return self.snapshot.version

    def note(self, node_id: str, name: str, refusal: Refusal) -> None:
        """The node refuses this of the candidate."""
        origin = refusal.resource.origin if refusal.resource else None
        status = ResourceStatus(name, State.REJECTED, refusal.version, None, refusal.message, origin)
        if status not in (known := self.refused.get(node_id, ())):
            self.refused[node_id] = (*known, status)


def chosen(version: str, node_ids: Iterable[str], percent: int) -> tuple[str, ...]:
    """The nodes for a canary of this version, sorted.

    At least one, never all where there are two or more, otherwise no more than `percent` of them. Every replica
    chooses the same, and another version is tried on others.
    """
    ranked = sorted(node_ids, key=lambda node_id: hashlib.blake2b(f"{version}:{node_id}".encode()).digest())
    most = max(1, len(ranked) - 1)
    return tuple(sorted(ranked[: min(most, max(1, len(ranked) * percent // 100))]))


@dataclass(slots=True)
class Rollout:
    """`snapshot` is `intended` without what is rolled back, `candidate` the canary's without the same.

    `good` was accepted as a whole, `proved` is the version of each unit of it that some proxy runs. `pending` are the
    nodes that have yet to answer all of `snapshot`.
    """

    intended: Snapshot
    snapshot: Snapshot
    good: Snapshot | None = None
    proved: dict[Unit, str] = field(default_factory=dict)
    rolled_back: dict[Unit, str] = field(default_factory=dict)
    ballots: dict[Version, Ballot] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    canary: Canary | None = None
    candidate: Snapshot | None = None
    # Rolled back a moment ago: what is refused next is rolled back together, a moment later.
    resting: bool = False
    overdue: bool = False

    def intend(self, snapshot: Snapshot) -> None:
        """Forget refusals of content that it does not hold."""
        self.intended = snapshot
        self.rolled_back = {
            unit: version for unit, version in self.rolled_back.items() if holds(snapshot, (*unit, version))
        }
        self.ballots = {version: ballot for version, ballot in self.ballots.items() if holds(snapshot, version)}

    def reckon(self) -> None:
        """What to serve."""
        self.overdue = False
        self.snapshot = without_refused(self.intended, self.rolled_back, self.good)
        if self.canary is not None:
            self.candidate = without_refused(self.canary.snapshot, self.rolled_back, self.good)

    def is_canary(self, node_id: str) -> bool:
        return self.canary is not None and node_id in self.canary.nodes

    def is_settled(self, version: Version) -> bool:
        """It is proven, or rolled back already."""
        type_url, name, content = version
        return content in (self.proved.get((type_url, name)), self.rolled_back.get((type_url, name)))

    def forget_node(self, node_id: str) -> None:
        """It has gone: it has no say in what is undecided."""
        for version in list(self.ballots):
            if self.rolled_back.get(version[:2]) != version[2]:
                self.ballots[version].messages.pop(node_id, None)
                if not self.ballots[version].messages:
                    del self.ballots[version]

    def report(self, version: Version) -> RolledBack:
        type_url, name, refused = version
        ballot = self.ballots[version]
        serving = _content(self.snapshot, type_url, name)
        if serving is not None and serving.version == refused:
            # It goes in a moment.
            serving = None if self.good is None else _content(self.good, type_url, name)
        served = None if serving is None else serving.version
        message = next(iter(ballot.messages.values()))
        return RolledBack(type_url, name, refused, served, message, ballot.origin, tuple(sorted(ballot.messages)))

    def reports(self) -> tuple[RolledBack, ...]:
        return tuple(self.report((*unit, version)) for unit, version in sorted(self.rolled_back.items()))

    def refusals(self) -> dict[str, tuple[ResourceStatus, ...]]:
        """By node id: what was refused and rolled back, although no proxy is offered it any more."""
        refused: dict[str, tuple[ResourceStatus, ...]] = {}
        for unit, version in sorted(self.rolled_back.items()):
            report, ballot = self.report((*unit, version)), self.ballots[(*unit, version)]
            for node_id, message in ballot.messages.items():
                status = ResourceStatus(unit[1], State.REJECTED, version, report.served, message, ballot.origin)
                refused[node_id] = (*refused.get(node_id, ()), status)
        return refused


def holds(snapshot: Snapshot | None, version: Version) -> bool:
    resource = None if snapshot is None else _content(snapshot, version[0], version[1])
    return resource is not None and resource.version == version[2]


def united(
    some: Mapping[str, tuple[ResourceStatus, ...]], others: Mapping[str, tuple[ResourceStatus, ...]]
) -> dict[str, tuple[ResourceStatus, ...]]:
    """By node id, each refusal once."""
    merged = dict(some)
    for node_id, refused in others.items():
        there = {(each.name, each.version) for each in merged.get(node_id, ())}
        new = tuple(each for each in refused if (each.name, each.version) not in there)
        merged[node_id] = merged.get(node_id, ()) + new
    return merged


def _content(snapshot: Snapshot, type_url: str, name: str) -> Resource | None:
    return snapshot.resources.get(type_url, {}).get(name)
