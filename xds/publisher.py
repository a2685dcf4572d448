"""The current snapshot of each node group, and whether it is live on every proxy of the group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from xds.nodes import Connection, Nodes, ResourceStatus
from xds.protocol.messages import Node
from xds.protocol.stream import Stream
from xds.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Liveness:
    """Where a version has got to. Node ids; `refused` says what each refused of it, in its own words."""

    version: str
    current: bool
    acked: tuple[str, ...]
    behind: tuple[str, ...]
    refused: dict[str, tuple[ResourceStatus, ...]]

    @property
    def total(self) -> int:
        return len(self.acked) + len(self.behind)

    @property
    def complete(self) -> bool:
        """Every connected proxy runs it."""
        return not self.behind

    def __str__(self) -> str:
        return f"acked by {len(self.acked)} of {self.total}"


class Publisher:
    """Belongs to one event loop: call it from there."""

    def __init__(self) -> None:
        self.nodes = Nodes()
        self._snapshots: dict[str, Snapshot] = {}
        self._wakers: dict[Connection, Callable[[], None]] = {}
        self._waiting: set[asyncio.Future[None]] = set()
        self._observers: list[Callable[[str, Snapshot], None]] = []

    def groups(self) -> list[str]:
        """The groups that have a snapshot."""
        return sorted(self._snapshots)

    def snapshot(self, group: str) -> Snapshot | None:
        return self._snapshots.get(group)

    def set_snapshot(self, group: str, snapshot: Snapshot) -> None:
        """Make it the one that the group's proxies shall run.

        Their streams are woken and take it as soon as they have nothing else to do. A stream that is busy takes only
        the last of several, so that at most one change is ever pending for a proxy.
        """
        self._snapshots[group] = snapshot
        for observe in self._observers:
            observe(group, snapshot)
        for connection, wake in self._wakers.items():
            if connection.node.cluster == group:
                wake()
        self.changed()

    def observe(self, observer: Callable[[str, Snapshot], None]) -> None:
        """Tell the observer of every snapshot that is published, and of those that have been."""
        self._observers.append(observer)
        for group, snapshot in self._snapshots.items():
            observer(group, snapshot)

    def join(self, node: Node, peer: str, stream: Stream[Any], wake: Callable[[], None]) -> Connection:
        """A proxy has connected; `wake` is called whenever there is a new snapshot for it."""
        connection = self.nodes.add(node, peer, stream)
        self._wakers[connection] = wake
        self.changed()
        return connection

    def leave(self, connection: Connection) -> None:
        del self._wakers[connection]
        self.nodes.remove(connection)
        self.changed()

    def changed(self) -> None:
        """What a proxy runs may have changed: let those who wait for it look again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    def live(self, group: str, version: str) -> Liveness:
        """Which of the group's connected proxies run the snapshot of this version."""
        current = self._snapshots.get(group)
        nodes = self.nodes.live(group)
        acked = tuple(node_id for node_id, live in nodes.items() if live == version)
        behind = tuple(node_id for node_id, live in nodes.items() if live != version)
        is_current = current is not None and current.version == version
        refused = self.nodes.refusals(group, version) if behind and is_current else {}
        return Liveness(version, is_current, acked, behind, refused)

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
            if done or liveness.refused or left <= 0 or (group in self._snapshots and not liveness.current):
                return liveness
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left)
            finally:
                self._waiting.discard(waiter)
