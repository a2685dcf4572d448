"""Whose turn it is to be sent a change: so many streams at once, the others in the order in which they asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal


class Turn:
    """One stream's; `granted` once it may send."""

    __slots__ = ("state", "wake")

    def __init__(self, wake: Callable[[], None]) -> None:
        self.wake = wake
        self.state: Literal["waiting", "granted", "over"] = "waiting"

    @property
    def granted(self) -> bool:
        return self.state == "granted"


class Turns:
    """A stream asks once for whatever has become due until its turn comes, so that changes merge while it waits.

    `observe` is told how many are waiting.
    """

    def __init__(self, at_once: int, observe: Callable[[int], None] = lambda _: None) -> None:
        self._free = at_once
        self._waiting: deque[Turn] = deque()
        self._waiting_count = 0
        self._observe = observe

    def ask(self, wake: Callable[[], None]) -> Turn:
        """A turn, granted already or else later: `wake` is called then."""
        turn = Turn(wake)
        if self._free:
            self._free -= 1
            turn.state = "granted"
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
            self._free += 1
            self._grant()

    def _grant(self) -> None:
        while self._free and self._waiting:
            turn = self._waiting.popleft()
            if turn.state == "waiting":
                self._free -= 1
                turn.state = "granted"
                self._count(-1)
                turn.wake()

    def _count(self, more: int) -> None:
        self._waiting_count += more
        self._observe(self._waiting_count)
