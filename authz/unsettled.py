"""A check whose decision waits for something that takes time, and what for."""

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto

from authz.decision import Decision
from authz.limits import Counting
from authz.request import Request


class Awaited(Enum):
    """What one check waits for. Checks that wait for the same can wait together."""

    KEY = auto()
    NONCE = auto()
    COUNT = auto()
    RECORD = auto()


@dataclass(slots=True, eq=False)
class Unsettled:
    """A check on its way. Only whoever settles it writes to it, and whoever asked, to give it up.

    `now`: seconds since the epoch, of the decision. `started`: by the counter that durations are taken from.
    `counting`: what is to be counted; after that, what was charged. `kept`: whether the record is on disk.
    `given_up`: nobody waits for the answer any more, so it must not become one that allows.
    """

    request: Request
    decision: Decision
    now: float
    started: float
    awaited: Awaited
    counting: Counting | None = None
    kept: Awaitable[bool] | None = None
    given_up: bool = False

    def goes_on(self, later: "Unsettled") -> "Unsettled":
        """The same check, which now waits for what `later` does: whoever gives it up knows this one."""
        self.decision, self.awaited, self.counting, self.kept = (
            later.decision,
            later.awaited,
            later.counting,
            later.kept,
        )
        return self
