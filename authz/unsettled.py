"""A check whose decision waits for something that takes time, and what for."""

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import Enum, auto

from authz.decision import Decision
from authz.request import Request


class Awaited(Enum):
    """What one check waits for. Checks that wait for the same can wait together."""

    KEY = auto()
    NONCE = auto()
    RECORD = auto()


@dataclass(slots=True, eq=False)
class Unsettled:
    """A check on its way. Only whoever settles it writes to it, and whoever asked, to give it up.

    `now`: seconds since the epoch, of the decision. `started`: by the counter that durations are taken from.
    `kept`: whether the record is on disk. `given_up`: nobody waits for the answer any more, so it must not become one
    that allows.
    """

    request: Request
    decision: Decision
    now: float
    started: float
    awaited: Awaited
    kept: Awaitable[bool] | None = None
    given_up: bool = False
