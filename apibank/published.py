"""What each gateway's Envoys are told to run, where it came from, and what stands in the way of something newer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from apibank.preparation import ErrorRecord
from policy.load import Loaded
from policy.model import Gateway
from records.policy_history import Change


@dataclass(frozen=True, slots=True)
class Intent:
    """Who changes a policy, how and why. `revision`: of the history, where the change stands there already."""

    source: Change
    author: str
    message: str = ""
    revision: int | None = None
    canary_percent: int | None = None


@dataclass(slots=True)
class Published:
    """One gateway. `loaded` is None for what was restored, whose files have not been read yet.

    `before` is the policy that was live until this one; `text` the file without overlays.
    """

    gateway: Gateway | None = None
    loaded: Loaded[Gateway] | None = None
    text: str | None = None
    fingerprint: str | None = None
    at: datetime | None = None
    revision: int | None = None
    restored: bool = False
    before: Gateway | None = None
    # Routes that have changed since `before`, once somebody has asked.
    suspects: Sequence[dict[str, object]] | None = None
    # The version of the snapshot that was made of it.
    snapshot: str | None = None
    errors: Sequence[ErrorRecord] = field(default_factory=tuple)

    @property
    def version(self) -> str | None:
        return None if self.gateway is None else self.gateway.version
