"""Whose turn it is to be sent a change: so many streams at once, the others in the order in which they asked.

What is being sent is copied for each stream, so that large changes go to fewer at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Literal

from xds.snapshot import EMPTY_SET, Resource, Snapshot, changed_names

# What the copies that are under way may have together.
_MOST_BYTES: Final = 64 * 2**20


class Turn:
    """One stream's; `granted` once it may send. `weight`: how many bytes it is going to be, at most."""

    __slots__ = ("state", "wake", "weight")

    def __init__(self, wake: Callable[[], None], weight: int) -> None:
        self.wake = wake
        self.weight = weight
        self.state: Literal["waiting", "granted", "over"] = "waiting"

    @property
    def granted(self) -> bool:
        return self.state == "granted"


class Turns:
    """A stream asks once for whatever has become due until its turn comes, so that changes merge while it waits.

    `observe` is told how many are waiting. One stream may send, however much it is.
    """

    def __init__(
        self, at_once: int, observe: Callable[[int], None] = lambda _: None, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._at_once = at_once
        self._most_bytes = most_bytes
        self._sending = 0
        self._bytes = 0
        self._waiting: deque[Turn] = deque()
        self._waiting_count = 0
        self._observe = observe

    def ask(self, wake: Callable[[], None], weight: int = 0) -> Turn:
        """A turn, granted already or else later: `wake` is called then."""
        turn = Turn(wake, weight)
        if not self._waiting_count and self._has_room(turn):
            self._start(turn)
        else:
            self._waiting.append(turn)
            self._count(1)
        return turn

    def give_back(self, turn: Turn) -> None:
        """The stream has been sent what it was owed, or wants nothing any more. A second time: nothing."""
        former, turn.state = turn.state, "over"
        if former == "waiting":
            # It stays in the queue, to be passed over.
            self._count(-1)
        elif former == "granted":
            self._sending -= 1
            self._bytes -= turn.weight
            self._grant()

    def _has_room(self, turn: Turn) -> bool:
        if not self._sending:
            return True
        return self._sending < self._at_once and self._bytes + turn.weight <= self._most_bytes

    def _start(self, turn: Turn) -> None:
        self._sending += 1
        self._bytes += turn.weight
        turn.state = "granted"

    def _grant(self) -> None:
        while self._waiting:
            turn = self._waiting[0]
            if turn.state == "waiting":
                if not self._has_room(turn):
                    return
                self._start(turn)
                self._count(-1)
                turn.wake()
            self._waiting.popleft()

    def _count(self, more: int) -> None:
        self._waiting_count += more
        self._observe(self._waiting_count)


class Weights:
    """How many bytes a stream is sent when it goes from one snapshot to another, reckoned once for all that do."""

    def __init__(self) -> None:
        self._known: tuple[Snapshot, Snapshot, int, int] | None = None

    def of(self, before: Snapshot, after: Snapshot, *, whole_sets: bool) -> int:
        """At most, and without names: `whole_sets` for state of the world, which repeats what has not changed."""
        known = self._known
        if known is None or known[0] is not before or known[1] is not after:
            known = self._known = before, after, _changed_bytes(before, after), _set_bytes(before, after)
        return known[3] if whole_sets else known[2]


def _changed_bytes(before: Snapshot, after: Snapshot) -> int:
    total = 0
    for type_url, resources in after.resources.items():
        for name in changed_names(before.of_type(type_url), after.of_type(type_url)):
            if name in resources:
                total += len(resources[name].body)
    return total


def _set_bytes(before: Snapshot, after: Snapshot) -> int:
    return sum(
        _size(resources.values())
        for type_url, resources in after.resources.items()
        if before.versions.get(type_url, EMPTY_SET.version) != after.versions[type_url]
    )


def _size(resources: Iterable[Resource]) -> int:
    return sum(len(each.body) for each in resources)
