"""What each node group shall run, what is taken back from it, and whether it is live on every proxy of the group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog

from xds.nodes import Connection, Nodes, ResourceStatus, refused_by
from xds.protocol.messages import Node
from xds.protocol.stream import Stream
from xds.rollback import RolledBack
from xds.rollout import Ballot, Canary, Rollout, Version, chosen, holds, united
from xds.snapshot import SHORT_NAMES, Snapshot

# How long a refusal waits for proxies that have the same and have not answered, before it counts against the others.
PATIENCE_SECONDS: Final = 0.5
# Rollbacks that follow one another closer than this are made together: each costs a pass over the snapshot.
_REST_SECONDS: Final = 0.05

_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Liveness:
    """Where a version has got to. Node ids; `refused` says what each refused of it, in its own words.

    `current` says that the version is what was published last, what is served of it, or a canary's candidate. What is
    in `rolled_back` was taken back, and the group runs the rest: then nobody runs the version as it was published.
    """

    version: str
    current: bool
    acked: tuple[str, ...]
    behind: tuple[str, ...]
    refused: dict[str, tuple[ResourceStatus, ...]]
    rolled_back: tuple[RolledBack, ...] = ()

    @property
    def total(self) -> int:
        return len(self.acked) + len(self.behind)

    @property
    def complete(self) -> bool:
        """Every connected proxy runs it."""
        return not self.behind

    def __str__(self) -> str:
        return f"acked by {len(self.acked)} of {self.total}"


def _after(seconds: float, do: Callable[[], None]) -> None:
    """In the running event loop; at once where there is none."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        do()
    else:
        loop.call_later(seconds, do)


class Publisher:
    """Belongs to one event loop: call it from there. `after` calls a function after that many seconds.

    A refused resource is rolled back for its group as soon as the nodes that refuse it are at least as many as those
    that accept it; those that owe an answer count as accepting for `PATIENCE_SECONDS`. It gets its last proven
    content, or is left out with all that needs it. What has been proven is never rolled back.
    """

    def __init__(self, after: Callable[[float, Callable[[], None]], None] = _after) -> None:
        self.nodes = Nodes()
        self._after = after
        self._rollouts: dict[str, Rollout] = {}
        self._wakers: dict[Connection, Callable[[], None]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._observers: list[Callable[[str, Snapshot], None]] = []
        self._on_good: list[Callable[[str, Snapshot], None]] = []
        self._on_rollback: list[Callable[[str, RolledBack], None]] = []

    def groups(self) -> list[str]:
        """The groups that have a snapshot."""
        return sorted(self._rollouts)

    def intended(self, group: str) -> Snapshot | None:
        """As it was published last."""
        rollout = self._rollouts.get(group)
        return None if rollout is None else rollout.intended

    def snapshot(self, group: str) -> Snapshot | None:
        """What the proxies outside a canary shall run: what was published, without what is rolled back."""
        rollout = self._rollouts.get(group)
        return None if rollout is None else rollout.snapshot

    def snapshot_for(self, node: Node) -> Snapshot | None:
        """What this proxy shall run."""
        rollout = self._rollouts.get(node.cluster)
        if rollout is None:
            return None
        return rollout.candidate if rollout.is_canary(node.id) else rollout.snapshot

    def good(self, group: str) -> Snapshot | None:
        """The last snapshot that all connected proxies of the group have answered, with no refusal that counts."""
        rollout = self._rollouts.get(group)
        return None if rollout is None else rollout.good

    def rolled_back(self, group: str) -> tuple[RolledBack, ...]:
        """What is withheld now of what was published, by type and name."""
        rollout = self._rollouts.get(group)
        return () if rollout is None else rollout.reports()

    def connections_of(self, node: Node) -> tuple[Connection, ...]:
        """All streams of a proxy, the oldest first."""
        return self.nodes.connections_of(node.cluster, node.id)

    def set_snapshot(self, group: str, snapshot: Snapshot) -> None:
        """Make it the one that the group's proxies shall run; a canary of the group ends.

        Their streams are woken and take it as soon as they have nothing else to do. A stream that is busy takes only
        the last of several, so that at most one change is ever pending for a proxy. What was rolled back stays so
        until its content changes.
        """
        rollout = self._rollouts.setdefault(group, Rollout(snapshot, snapshot))
        rollout.canary = rollout.candidate = None
        rollout.intend(snapshot)
        self._serve(group, rollout)

    def restore(self, group: str, snapshot: Snapshot) -> None:
        """`set_snapshot` for one that was proven before a restart: nothing of it is ever rolled back."""
        rollout = self._rollouts.setdefault(group, Rollout(snapshot, snapshot))
        rollout.good = snapshot
        rollout.proved = {(type_url, each.name): each.version for type_url, each in snapshot}
        rollout.rolled_back.clear()
        self.set_snapshot(group, snapshot)

    def forget(self, group: str) -> None:
        """Publish nothing for the group any more. ValueError while proxies of it are connected, who would be left."""
        if self.nodes.count(group):
            raise ValueError(f"proxies of {group!r} are connected")
        self._rollouts.pop(group, None)
        self._tell_waiting()

    def observe(self, observer: Callable[[str, Snapshot], None]) -> None:
        """Tell the observer of everything that a group shall run, now and from now on; of candidates not."""
        self._observers.append(observer)
        for group, rollout in self._rollouts.items():
            observer(group, rollout.snapshot)

    def on_good(self, observer: Callable[[str, Snapshot], None]) -> None:
        """Tell the observer of each snapshot that becomes `good`, at once."""
        self._on_good.append(observer)

    def on_rollback(self, observer: Callable[[str, RolledBack], None]) -> None:
        """Tell the observer of each resource that is rolled back, at once."""
        self._on_rollback.append(observer)

    def set_canary(self, group: str, snapshot: Snapshot, percent: int) -> Canary:
        """Let some of the group's connected proxies run a candidate, and the others what they run.

        Proxies that connect later run what the others run. ValueError for a group that has nothing yet, or a
        percentage that is none.
        """
        rollout = self._rollouts.get(group)
        if rollout is None:
            raise ValueError(f"nothing is published for {group!r} yet, so that its first configuration has no canary")
        if not 1 <= percent <= 100:
            raise ValueError(f"a canary is 1 to 100 percent of the proxies, not {percent}")
        ids = self.nodes.ids(group)
        rollout.canary = Canary(snapshot, percent, chosen(snapshot.version, ids, percent) if ids else ())
        self._serve(group, rollout)
        return rollout.canary

    def canary(self, group: str) -> Canary | None:
        rollout = self._rollouts.get(group)
        return None if rollout is None else rollout.canary

    def candidate(self, group: str) -> Snapshot | None:
        """What the canary's nodes shall run: the candidate, without what is rolled back."""
        rollout = self._rollouts.get(group)
        return None if rollout is None else rollout.candidate

    def end_canary(self, group: str, *, promote: bool) -> None:
        """Let the group run the candidate, or its canary nodes what the others run. Without a canary: nothing."""
        rollout = self._rollouts.get(group)
        if rollout is None or rollout.canary is None:
            return
        candidate = rollout.canary.snapshot
        rollout.canary = rollout.candidate = None
        if promote:
            self.set_snapshot(group, candidate)
        else:
            self._serve(group, rollout)

    def join(self, node: Node, peer: str, stream: Stream[Any], wake: Callable[[], None]) -> Connection:
        """A proxy has connected; `wake` is called whenever there is a new snapshot for it."""
        connection = self.nodes.add(node, peer, stream)
        self._wakers[connection] = wake
        rollout = self._rollouts.get(node.cluster)
        if rollout is not None and not rollout.is_canary(node.id):
            rollout.pending.add(node.id)
        self._tell_waiting()
        return connection

    def leave(self, connection: Connection) -> None:
        del self._wakers[connection]
        self.nodes.remove(connection)
        rollout = self._rollouts.get(connection.node.cluster)
        if rollout is not None:
            if not self.connections_of(connection.node):
                rollout.forget_node(connection.node.id)
            self._settle(connection.node, rollout)
        self._tell_waiting()

    def changed(self, connection: Connection | None = None) -> None:
        """What the proxy of this stream runs or refuses may have changed. Without a stream: of any, which is slow."""
        for each in (connection,) if connection else tuple(self._wakers):
            rollout = self._rollouts.get(each.node.cluster)
            if rollout is not None:
                self._listen(each, rollout)
                self._settle(each.node, rollout)
                if not rollout.pending:
                    self._tell_waiting()

    def live(self, group: str, version: str) -> Liveness:
        """Which of the group's connected proxies run the snapshot of this version."""
        nodes = self.nodes.live(group)
        acked = tuple(node_id for node_id, live in nodes.items() if live == version)
        behind = tuple(node_id for node_id, live in nodes.items() if live != version)
        rollout = self._rollouts.get(group)
        if rollout is None:
            return Liveness(version, False, acked, behind, {})
        published = version == rollout.intended.version
        trying = rollout.canary is not None and version == rollout.canary.version
        current = published or trying or version == rollout.snapshot.version
        refused = self.nodes.refusals(group, version) if behind and current else {}
        if trying and rollout.canary is not None:
            refused = united(rollout.canary.refused, refused)
        if published:
            refused = united(rollout.refusals(), refused)
        return Liveness(version, current, acked, behind, refused, rollout.reports() if published else ())

    async def wait_live(self, group: str, version: str, *, expected: int = 1, within: float) -> Liveness:
        """Wait until at least `expected` proxies are connected and all that are connected run this version.

        Returns earlier when one has refused part of it or another version has taken its place, and after `within`
        seconds in any case; the answer says which.
        """
        deadline = asyncio.get_running_loop().time() + within
        while True:
            liveness = self.live(group, version)
            done = liveness.complete and liveness.total >= expected
            left = deadline - asyncio.get_running_loop().time()
            if done or liveness.refused or left <= 0 or (group in self._rollouts and not liveness.current):
                return liveness
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left)
            finally:
                self._waiting.discard(waiter)

    def _serve(self, group: str, rollout: Rollout) -> None:
        """Reckon what the group shall run, and let its streams take it."""
        rollout.reckon()
        rollout.pending = {node_id for node_id in self.nodes.ids(group) if not rollout.is_canary(node_id)}
        for observe in self._observers:
            observe(group, rollout.snapshot)
        for connection in self.nodes.connections(group):
            self._wakers[connection]()
        # Who runs it already, as others than a canary's nodes do when it ends, will say nothing more about it.
        for node in {each.node for each in self.nodes.connections(group) if each.stream.target is rollout.snapshot}:
            self._settle(node, rollout)
        self._tell_waiting()

    def _tell_waiting(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def _listen(self, connection: Connection, rollout: Rollout) -> None:
        """Take note of what the proxy refuses."""
        node = connection.node

        def known(version: Version) -> bool:
            ballot = rollout.ballots.get(version)
            return ballot is not None and node.id in ballot.messages

        for type_url, name, refusal in tuple(refused_by(connection, known)):
            version = (type_url, name, refusal.version)
            if holds(rollout.snapshot, version):
                origin = refusal.resource.origin if refusal.resource else None
                ballot = rollout.ballots.setdefault(version, Ballot(origin))
                ballot.messages[node.id] = refusal.message
                self._count(node.cluster, rollout, version, ballot)
                self._tell_waiting()
            elif rollout.canary is not None and rollout.is_canary(node.id) and holds(rollout.candidate, version):
                rollout.canary.note(node.id, name, refusal)
                self._tell_waiting()

    def _count(self, group: str, rollout: Rollout, version: Version, ballot: Ballot) -> None:
        """Roll the version back if it is for the nodes that refuse it to say."""
        if rollout.is_settled(version):
            return
        accepted, owing = self.nodes.votes(group, version, besides=ballot.messages)
        if len(ballot.messages) >= accepted + (owing if ballot.patient else 0):
            self._roll_back(group, rollout, version)
        elif ballot.patient and not ballot.timed:
            ballot.timed = True

            def lose_patience() -> None:
                ballot.patient = False
                if rollout.ballots.get(version) is ballot and holds(rollout.snapshot, version):
                    self._count(group, rollout, version, ballot)

            self._after(PATIENCE_SECONDS, lose_patience)

    def _roll_back(self, group: str, rollout: Rollout, version: Version) -> None:
        type_url, name, refused = version
        rollout.rolled_back[type_url, name] = refused
        report = rollout.report(version)
        _LOG.warning(
            "config_rolled_back",
            gateway=group,
            type=SHORT_NAMES.get(type_url, type_url),
            resource=name,
            file=report.origin and report.origin.file,
            line=report.origin and report.origin.line,
            message=report.message,
            nodes=report.nodes,
            served=report.served,
        )
        for observe in self._on_rollback:
            observe(group, report)
        if rollout.resting:
            rollout.overdue = True
            return
        rollout.resting = True
        self._serve(group, rollout)

        def rested() -> None:
            rollout.resting = False
            if rollout.overdue:
                self._serve(group, rollout)

        self._after(_REST_SECONDS, rested)

    def _settle(self, node: Node, rollout: Rollout) -> None:
        """Note whether the node has answered everything, and whether it was the last to."""
        if node.id not in rollout.pending:
            return
        if self.connections_of(node) and self.nodes.answered(node.cluster, node.id) != rollout.snapshot.version:
            return
        rollout.pending.discard(node.id)
        if not rollout.pending and not rollout.overdue and self.nodes.count(node.cluster):
            self._prove(node.cluster, rollout)

    def _prove(self, group: str, rollout: Rollout) -> None:
        """All proxies have answered the snapshot, and what they refused of it was not for them to say."""
        for version, ballot in list(rollout.ballots.items()):
            if holds(rollout.snapshot, version):
                ballot.patient = False
                self._count(group, rollout, version, ballot)
        if rollout.pending or rollout.overdue:
            return
        before, rollout.good = rollout.good, rollout.snapshot
        if (
            before is not None
            and before.version == rollout.good.version
            and len(rollout.proved) == sum(map(len, rollout.good.resources.values()))
        ):
            return
        rollout.proved = {
            (type_url, each.name): each.version
            for type_url, each in rollout.snapshot
            if rollout.proved.get((type_url, each.name)) == each.version
            or self.nodes.accepts(group, (type_url, each.name, each.version))
        }
        if before is None or before.version != rollout.good.version:
            for observe in self._on_good:
                observe(group, rollout.good)


__all__ = ["Canary", "Liveness", "Publisher", "RolledBack"]
