"""What the durable audit counts about itself, for whoever watches it."""

from dataclasses import dataclass, field
from enum import StrEnum


class Lost(StrEnum):
    """Why an event could not be kept."""

    NO_SPOOL = "no_spool"
    SPOOL_FULL = "spool_full"
    DISK = "disk"
    BUSY = "busy"
    SLOW = "slow"


@dataclass(slots=True)
class AuditFigures:
    """Counted by one event loop, read by the same.

    `kept`: events on disk in the spool; `stored`: those whose rows are in the database; `lost`: events for which there
    was no place in time; `torn`, `damaged`: lines of the spool that could not be read; `set_aside`: events that the
    database refused for good; `failures`: attempts to reach the database that failed; `broken`: whether the chain
    no longer leads to the last anchor.
    """

    kept: int = 0
    stored: int = 0
    lost: dict[Lost, int] = field(default_factory=lambda: dict.fromkeys(Lost, 0))
    torn: int = 0
    damaged: int = 0
    set_aside: int = 0
    failures: int = 0
    broken: bool = False
