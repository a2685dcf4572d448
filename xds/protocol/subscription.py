"""What a client asked for and what it has, for one type on one stream. Both dialects share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from xds.protocol.messages import Response
from xds.protocol.names import collection_of, is_collection
from xds.snapshot import CLUSTER, EXTENSION, LISTENER, SCOPED_ROUTE, SECRET, VIRTUAL_HOST, Resource

# An empty list of names means "everything" for these, and "nothing" for all others.
WILDCARD_TYPES: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})

# In state of the world, what a response of these types leaves out is deleted by the client.
FULL_STATE_TYPES: Final = frozenset({CLUSTER, LISTENER, SCOPED_ROUTE})

# A subscription to one of these means that a listener or cluster refers to it. An Envoy told that it is gone answers
# 500 (extensions, envoyproxy/envoy#32823) or refuses (secrets, #32832), so it keeps the last one until it lets go.
KEPT_WHILE_SUBSCRIBED: Final = frozenset({EXTENSION, SECRET})

# Resources of these types can be asked for by other names than their own. Those that have some are sent to who asks
# for them, and not to a wildcard: it is for them that an Envoy asks on demand.
ALIASED_TYPES: Final = frozenset({VIRTUAL_HOST})

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
    # The client is an Envoy, which takes some answers otherwise than the protocol's text has them.
    of_envoy: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    # How many characters they have together.
    length: int = 0
    # Those of the names that stand for collections.
    collections: set[str] = field(default_factory=set)
    # The names of resources that are subscribed to by an alias, each with these aliases.
    reached: dict[str, set[str]] = field(default_factory=dict)
    # Not part of the wildcard.
    withheld: frozenset[str] = frozenset()
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
    # Something may be owed, since `owed` last looked: of anything, or of those that changed and nothing else.
    dirty: bool = True
    moved: set[str] = field(default_factory=set)

    # Heartbeats that have not been answered, by nonce; they are no part of what is in flight.
    beats: dict[str, InFlight] = field(default_factory=dict)
    # What the client had when it connected, and was not sent on this stream.
    inherited: set[str] = field(default_factory=set)
    # State of the world: the version of the last accepted response.
    version: str = ""

    def covers(self, name: str) -> bool:
        if name in self.names or name in self.reached:
            return True
        if self.wildcard:
            return name not in self.withheld
        return bool(self.collections) and collection_of(name) in self.collections

    def covered(self, resources: Mapping[str, Resource]) -> list[Resource]:
        """The subscribed ones of these, by name."""
        if self.wildcard and not self.withheld:
            return list(resources.values())
        if self.wildcard or self.collections:
            return [resource for name, resource in resources.items() if self.covers(name)]
        return [resources[name] for name in sorted(self.names | self.reached.keys()) if name in resources]

    def candidates(self, resources: Mapping[str, Resource]) -> list[Resource]:
        """Those of these, by name, that may be owed."""
        if self.dirty or self.greeting:
            return self.covered(resources)
        names = self.moved | self.asked | self.held
        return [resources[name] for name in sorted(names) if name in resources and self.covers(name)]

    def name(self, names: set[str]) -> None:
        """Subscribe to these names, and to no others."""
        self.names = names
        self.length = sum(map(len, names))
        self.collections = {name for name in names if is_collection(self.type_url, name)}

    def add(self, name: str) -> None:
        if name not in self.names:
            self.length += len(name)
        self.names.add(name)
        if is_collection(self.type_url, name):
            self.collections.add(name)

    def reach(self, resources: Mapping[str, Resource]) -> None:
        """Find what is subscribed to by an alias, and put names for the aliases and collections asked for."""
        by_alias: dict[str, str] = {}
        if self.type_url in ALIASED_TYPES:
            aliased = [resource for resource in resources.values() if resource.aliases]
            self.withheld = frozenset(resource.name for resource in aliased)
            by_alias = {alias: resource.name for resource in aliased for alias in resource.aliases}
            self.reached = {}
            for alias in self.names & by_alias.keys() - resources.keys():
                self.reached.setdefault(by_alias[alias], set()).add(alias)
        for asked in [name for name in self.asked if name not in resources]:
            if asked in by_alias:
                found = {by_alias[asked]}
            elif is_collection(self.type_url, asked):
                found = {name for name in resources if collection_of(name) == asked}
            else:
                continue
            if found:
                self.asked.discard(asked)
                self.asked |= found

    def drop(self, name: str) -> None:
        """The client unsubscribes from this name, alias or collection, and drops what it held by it."""
        if name in self.names:
            self.length -= len(name)
        self.names.discard(name)
        self.collections.discard(name)
        self.forget(name)
        for reached, aliases in list(self.reached.items()):
            aliases.discard(name)
            if not aliases:
                del self.reached[reached]
        if self.type_url in ALIASED_TYPES or is_collection(self.type_url, name):
            self.forget_uncovered()

    def unanswered(self, after: int = 0) -> set[str]:
        """The names that responses in flight, those after the one of this number, bring or take away."""
        return {
            name
            for flight in self.in_flight.values()
            if flight.number > after
            for name in (*(each.name for each in flight.response.resources), *flight.response.removed)
        }

    def forget_flights(self, names: int) -> None:
        """Keep the newest of the responses in flight, so many names together, and that of one at least.

        Late answers to the others will be to unknown nonces.
        """
        total = 0
        for nonce, flight in reversed(list(self.in_flight.items())):
            total += flight.response.mentions
            if total > names and flight.response.mentions < total:
                del self.in_flight[nonce]

    def forget(self, name: str) -> None:
        """The client has dropped the name and what it held of it."""
        for table in (self.sent, self.acked, self.refused):
            table.pop(name, None)
        for names in (self.asked, self.suspects, self.held, self.inherited):
            names.discard(name)

    def forget_uncovered(self) -> None:
        if self.wildcard and not self.withheld:
            return
        for name in (self.sent.keys() | self.acked.keys() | self.refused.keys() | self.asked) - self.names:
            if not self.covers(name):
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
        self.moved |= moved.keys()
        return moved

    @property
    def pending(self) -> bool:
        """Something may be owed."""
        return self.dirty or bool(self.moved)

    @property
    def last_in_flight(self) -> int:
        """The number of the last response that has not been answered; 0 if there is none."""
        if not self.in_flight:
            return 0
        # From the end: what has been answered leaves holes at the beginning, and a dictionary walks over these.
        return next((flight.number for flight in reversed(self.in_flight.values())), 0)

    @property
    def settled(self) -> bool:
        """The client has accepted everything that it is owed."""
        return not (
            self.in_flight or self.dirty or self.moved or self.asked or self.greeting or self.refused or self.held
        )
