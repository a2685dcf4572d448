"""What the control plane knows of itself, for the control API: what is live where, and what stands against it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import cast

from apibank.control_plane import ControlPlane
from apibank.published import Published
from apibank.rolled_back import record_of_rollback
from apibank.rollouts import Rollouts
from portal.control_api import Condition, GatewayState, ResourceState
from xds.nodes import Nodes, State
from xds.publisher import Liveness
from xds.snapshot import SHORT_NAMES

# A NACK can hold the whole resource; people need its beginning.
_LONGEST_MESSAGE = 500


class FederationStates:
    """Every gateway and every resource at every Envoy."""

    def __init__(self, control: ControlPlane, rollouts: Rollouts) -> None:
        self._control = control
        self._rollouts = rollouts
        # By group, those that all its Envoys have accepted, and what that was.
        self._known: dict[str, tuple[object, Sequence[ResourceState]]] = {}
        self._shown: Mapping[str, Sequence[ResourceState]] = {}
        self._all: Sequence[ResourceState] = ()

    def gateways(self) -> Sequence[GatewayState]:
        """Each gateway: what is published, on how many Envoys it is live, and what is wrong with the file."""
        return [self._gateway(name, state) for name, state in sorted(self._control.states.items())]

    def resources(self) -> Sequence[ResourceState]:
        """Each resource at each connected Envoy; the same object as before where nothing has changed."""
        groups = self._control.publisher.nodes.groups()
        rows = {group: self._rows(group) for group in groups}
        self._known = {group: self._known[group] for group in groups if group in self._known}
        if rows.keys() != self._shown.keys() or any(rows[group] is not self._shown[group] for group in groups):
            self._shown, self._all = rows, tuple(chain.from_iterable(rows.values()))
        return self._all

    def _rows(self, group: str) -> Sequence[ResourceState]:
        """Made anew while some Envoy of the group owes an answer, or refuses something; else once."""
        mark = _mark(self._control.publisher.nodes, group)
        known = self._known.get(group)
        if mark is not None and known is not None and known[0] == mark:
            return known[1]
        rows = self._read(group)
        self._known.pop(group, None)
        if mark is not None:
            self._known[group] = (mark, rows)
        return rows

    def _read(self, group: str) -> Sequence[ResourceState]:
        return [
            ResourceState(
                gateway=group,
                node=node.node.id,
                type=SHORT_NAMES.get(kind.type_url, kind.type_url),
                name=one.name,
                status=one.state.value,
                version=one.accepted if one.state is State.SYNCED else one.version,
                message=one.message.strip()[:_LONGEST_MESSAGE] or None,
                file=one.origin.file if one.origin else None,
                line=one.origin.line if one.origin else None,
            )
            for node in self._control.publisher.nodes.status(group)
            for kind in node.types
            for one in kind.resources
        ]

    def _gateway(self, name: str, state: Published) -> GatewayState:
        liveness = _liveness(self._control, name)
        canary = self._canary(name)
        trying = () if canary is None else cast(Sequence[str], canary["live"])
        hosts = () if state.gateway is None else self._control.endpoints.overridden(state.gateway)
        rolled_back = self._control.publisher.rolled_back(name)
        behind = [] if liveness is None else [node for node in liveness.behind if node not in trying]
        return GatewayState(
            gateway=name,
            version=state.version,
            published_at=state.at,
            envoys=self._control.publisher.nodes.count(name),
            live=0 if liveness is None else len(liveness.acked),
            errors=state.errors,
            behind=behind,
            refused=_refused(liveness),
            rolled_back=[record_of_rollback(one, state) for one in rolled_back],
            canary=canary,
            revision=state.revision,
            restored=state.restored,
            endpoints=[asdict(one) for one in hosts],
            condition=self._condition(name, liveness, wrong=bool(state.errors or rolled_back)),
        )

    def _condition(self, name: str, liveness: Liveness | None, *, wrong: bool) -> Condition:
        canary = self._control.publisher.canary(name)
        trying = () if canary is None else canary.nodes
        if wrong or liveness is None or not liveness.total or any(node not in trying for node in liveness.behind):
            return Condition.OUT_OF_SYNC
        if canary is None:
            return Condition.IN_SYNC
        return Condition.OUT_OF_SYNC if canary.refused else Condition.CANARY_RUNNING

    def _canary(self, name: str) -> Mapping[str, object] | None:
        running, canary = self._rollouts.running(name), self._control.publisher.canary(name)
        if running is None:
            return None
        nodes = () if canary is None else canary.nodes
        live = () if canary is None else self._control.publisher.live(name, canary.version).acked
        return {
            "revision": running.intent.revision,
            "version": running.version,
            "author": running.intent.author,
            "percent": running.intent.canary_percent,
            "step": running.step,
            "nodes": list(nodes),
            "live": [node for node in nodes if node in live],
        }


def liveness_record(control: ControlPlane, name: str) -> Mapping[str, object]:
    """Where what is published of a gateway has got to."""
    state, liveness = control.states.get(name, Published()), _liveness(control, name)
    return {
        "envoys": control.publisher.nodes.count(name),
        "live": 0 if liveness is None else len(liveness.acked),
        "behind": [] if liveness is None else list(liveness.behind),
        "refused": _refused(liveness),
        "rolled_back": [record_of_rollback(one, state) for one in control.publisher.rolled_back(name)],
    }


def _mark(nodes: Nodes, group: str) -> object:
    """Equal as long as every Envoy of the group runs the same; None where one does not run all that it shall."""
    marks = []
    for connection in nodes.connections(group):
        stream = connection.stream
        if not stream.live or stream.target is None:
            return None
        asked = tuple((kind, one.wildcard, frozenset(one.names)) for kind, one in stream.subscriptions.items())
        marks.append((connection.number, connection.node.id, stream.target.version, asked))
    return marks


def _liveness(control: ControlPlane, name: str) -> Liveness | None:
    """Of what its proxies shall run now, without what was rolled back."""
    snapshot = control.publisher.snapshot(name)
    return None if snapshot is None else control.publisher.live(name, snapshot.version)


def _refused(liveness: Liveness | None) -> list[Mapping[str, object]]:
    if liveness is None:
        return []
    return [
        {
            "node": node,
            "name": one.name,
            "version": one.version,
            "message": one.message.strip()[:_LONGEST_MESSAGE],
            "file": one.origin.file if one.origin else None,
            "line": one.origin.line if one.origin else None,
        }
        for node, refused in sorted(liveness.refused.items())
        for one in refused
    ]
