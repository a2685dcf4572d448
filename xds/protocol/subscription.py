"""What a client asked for and what it has, for one type on one stream. Both dialects share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from xds.protocol.messages import Response
from xds.snapshot import CLUSTER, EXTENSION, LISTENER, SCOPED_ROUTE, SECRET, Resource

# An empty list of names means "everything" for these, and "nothing" for all others.
WILDCARD_TYPES: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})

# In state of the world, what a response of these types leaves out is deleted by the client.
FULL_STATE_TYPES: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})

# A subscription to one of these means that a listener or cluster refers to it. An Envoy told that it is gone answers
# 500 (extensions, envoyproxy/envoy#32823) or refuses (secrets, #32832), so it keeps the last one until it lets go.
KEPT_WHILE_SUBSCRIBED: Final = frozenset({EXTENSION, SECRET})

# The version of a name that is not there, in `Refusal.version`, and of one that must be sent again, in `sent`.
ABSENT: Final = ""
UNKNOWN: Final = ""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response that has not been answered. `number` grows over the whole stream.

    `offered` is the version of all that was offered of the type when it was sent.
    """

    response: Response
    offered: str
    number: int
    sent_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client refused, in its words. `sole`: nothing else in the response was new, so this is the culprit."""

    version: str
    message: str
    resource: Resource | None
    sole: bool


@dataclass(slots=True)
class Subscription:
    """The two tables that everything follows from are `sent` and `acked`, both name -> version.

    `sent` is what the client runs if it accepts all that is in flight; `acked` is what it has accepted.
    """

    type_url: str
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    # State of the world: a name or "*" has been subscribed to, and from then on an empty list means nothing.
    explicit: bool = False

    # Names to answer whatever their version; a wildcard to answer even with nothing.
    asked: set[str] = field(default_factory=set)
    greeting: bool = False
    # The version that a state-of-the-world client said it runs when it connected.
    claimed: str = ""

    sent: dict[str, str] = field(default_factory=dict)
    acked: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Refusal] = field(default_factory=dict)
    # Refused together, so that nobody knows which was meant: each is next sent in a response of its own.
    suspects: set[str] = field(default_factory=set)
    # Not sent, because the client has refused what they need.
    held: set[str] = field(default_factory=set)
    # The resources of the last accepted response, for the state-of-the-world types that send complete sets.
    accepted: Mapping[str, Resource] = field(default_factory=dict)

    in_flight: dict[str, InFlight] = field(default_factory=dict)
    last_nonce: str = ""
    # Something may be owed: the resources or the subscription changed since `owed` last looked.
    dirty: bool = True

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def covered(self, resources: Mapping[str, Resource]) -> list[Resource]:
        """The subscribed ones of these, by name."""
        if self.wildcard:
            return list(resources.values())
        return [resources[name] for name in sorted(self.names) if name in resources]

    def unanswered(self, after: int = 0) -> set[str]:
        """The names that responses in flight, those after the one of this number, bring or take away."""
        return {
            name
            for flight in self.in_flight.values()
            if flight.number > after
            for name in (*(each.name for each in flight.response.resources), *flight.response.removed)
        }

    def forget(self, name: str) -> None:
        """The client has dropped the name and what it held of it."""
        for table in (self.sent, self.acked, self.refused):
            table.pop(name, None)
        for names in (self.asked, self.suspects, self.held):
            names.discard(name)

    def forget_uncovered(self) -> None:
        if self.wildcard:
            return
        for name in (self.sent.keys() | self.acked.keys() | self.refused.keys() | self.asked) - self.names:
            self.forget(name)

    def reconsider(self, resources: Mapping[str, Resource]) -> dict[str, Refusal]:
        """After a change: drop the refusals of what is no longer offered, and return them."""
        moved = {
            name: refusal
            for name, refusal in self.refused.items()
            if refusal.version == ABSENT or name not in resources or resources[name].version != refusal.version
        }
        for name in moved:
            del self.refused[name]
        self.dirty = True
        return moved

    @property
    def last_in_flight(self) -> int:
        """The number of the last response that has not been answered; 0 if there is none."""
        # From the end: what has been answered leaves holes at the beginning, and a dictionary walks over these.
        return next((flight.number for flight in reversed(self.in_flight.values())), 0)

    @property
    def settled(self) -> bool:
        """The client has accepted everything that it is owed."""
        return not (self.dirty or self.asked or self.greeting or self.in_flight or self.refused or self.held)
