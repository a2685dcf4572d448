"""The limits of a domain, as a tree over descriptors."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from policy.limits import StoreFailure
from ratelimit.algorithms import FixedWindow, Limit
from ratelimit.networks import network_of
from ratelimit.request import Entries, Unit

# RFC 9110 §5.6.2.
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


class Headers(StrEnum):
    """When the RateLimit headers are sent."""

    ALWAYS = "always"
    REFUSAL = "refusal"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Of the headers that tell one figure each, of the limit that is closest to its end. ValueError if it is none."""

    limit: str = "X-RateLimit-Limit"
    remaining: str = "X-RateLimit-Remaining"
    reset: str = "X-RateLimit-Reset"

    def __post_init__(self) -> None:
        for name in (self.limit, self.remaining, self.reset):
            if not _TOKEN.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a header")


USUAL_NAMES: Final = HeaderNames()


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One limit and how it is spoken of; itself and no other, however alike. `limit` None: no bound.

    name: as in policy: a metric label, and the policy's name in the RateLimit headers; never data of a request.
    code, refusal: of the 429's problem document. on_store_failure: what is answered while the store cannot decide.
    quota: it refuses only together with all other rules in quota mode that apply to the request.
    known_as: the name by which it may be replaced; empty: by none.
    replaces: names of rules that do not count in a request to which this one applies.
    shared: entries, by index, whose values share one counter, with what stands for them all.
    places: each entry as it is configured, `key` or `key_value`. told: entries, by index, whose values metrics are to
    tell (so many at most: metrics). metadata: for Envoy, while there is room.
    by_network: the value of its last entry is an address, which shares its counter with its network.
    """

    name: str
    limit: Limit | None
    unit: Unit = Unit.MINUTE
    code: str = "rate_limited"
    refusal: str = "Too many requests"
    on_store_failure: StoreFailure = StoreFailure.CLOSED
    shadow: bool = False
    quota: bool = False
    known_as: str = ""
    replaces: frozenset[str] = frozenset()
    shared: tuple[tuple[int, str], ...] = ()
    places: tuple[str, ...] = ()
    told: frozenset[int] = frozenset()
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    by_network: bool = False

    @property
    def fails_open(self) -> bool:
        return self.on_store_failure is StoreFailure.OPEN

    @property
    def fails_local(self) -> bool:
        """Whether it is counted in the process meanwhile (ratelimit.local_limits)."""
        return self.on_store_failure is StoreFailure.LOCAL

    @property
    def amount(self) -> int:
        return self.limit.amount if self.limit is not None else 0

    def subject(self, entries: Entries) -> Entries:
        """Whose counter it is: the entries, with what is shared in place of the values that share it."""
        if self.by_network:
            key, address = entries[-1]
            return (*entries[:-1], (key, network_of(address)))
        if not self.shared:
            return entries
        stands_for = dict(self.shared)
        return tuple((key, stands_for.get(index, value)) for index, (key, value) in enumerate(entries))


@dataclass(frozen=True, slots=True)
class Pattern:
    """A value with `*` in it, each of which stands for any text, or none. The pieces are what stands between them."""

    first: str
    middle: tuple[str, ...]
    last: str

    @classmethod
    def of(cls, text: str) -> "Pattern":
        first, *middle, last = text.split("*")
        return cls(first, tuple(piece for piece in middle if piece), last)

    def fits(self, value: str) -> bool:
        """In time that grows with the value's length only: each piece is looked for once, from the left."""
        place, end = len(self.first), len(value) - len(self.last)
        if place > end or not value.startswith(self.first) or not value.endswith(self.last):
            return False
        for piece in self.middle:
            found = value.find(piece, place, end)
            if found < 0:
                return False
            place = found + len(piece)
        return True


def nothing_admitted(unit: Unit) -> Limit:
    """The limit of those for whom there is no figure."""
    return FixedWindow(0, unit.microseconds)


@dataclass(frozen=True, slots=True)
class Node:
    """What a descriptor meets after some of its entries: a rule if it ends here, and the nodes that lie deeper.

    exact: by (key, value); wildcard: by key and pattern of the value, in the order written; any_value: by key alone.
    The first that fits decides, in that order, even where it leads to no rule.
    """

    rule: Rule | None = None
    exact: Mapping[tuple[str, str], "Node"] = field(default_factory=dict)
    wildcard: tuple[tuple[str, Pattern, "Node"], ...] = ()
    any_value: Mapping[str, "Node"] = field(default_factory=dict)

    def match(self, entries: Entries) -> Rule | None:
        """The rule for exactly these entries, not for the first few of them."""
        node: Node | None = self
        for key, value in entries:
            if node is None:
                return None
            node = node.below(key, value)
        return node.rule if node is not None else None

    def below(self, key: str, value: str) -> "Node | None":
        """The node that one more entry leads to."""
        exact = self.exact.get((key, value))
        if exact is not None:
            return exact
        for wildcard, pattern, node in self.wildcard:
            if wildcard == key and pattern.fits(value):
                return node
        return self.any_value.get(key)


# One for all: what is refused without a figure leaves no counter behind, whatever the descriptor holds.
UNMATCHED: Final = Rule("unmatched", nothing_admitted(Unit.MINUTE))


@dataclass(frozen=True, slots=True)
class DomainRules:
    """All limits of one domain.

    strict: a descriptor that no rule fits is refused, where it otherwise passes.
    shadow: nothing is refused, not by limits that come with the request either.
    overrun: several hits that do not fit use up what is left, as of a cost that is known only afterwards.
    names: of the headers with the figures; metadata: answers carry that of the rules that have room.
    on_store_failure: what limits that come with requests do while the store is away.
    earlier: the roots of the versions before, the newest first, for descriptors that `root` has no rule for.
    """

    domain: str
    root: Node
    headers: Headers = Headers.ALWAYS
    strict: bool = False
    shadow: bool = False
    names: HeaderNames = USUAL_NAMES
    metadata: bool = False
    overrun: bool = False
    on_store_failure: StoreFailure = StoreFailure.CLOSED
    earlier: tuple[Node, ...] = ()

    def match(self, entries: Entries) -> Rule | None:
        """The rule of the newest version that has one."""
        rule = self.root.match(entries)
        if rule is not None:
            return rule
        for root in self.earlier:
            rule = root.match(entries)
            if rule is not None:
                return rule
        return UNMATCHED if self.strict else None

    def after(self, before: "DomainRules | None", kept: int) -> "DomainRules":
        """The same rules, with those of the version before as earlier ones; `kept` versions in all."""
        if before is None:
            return self
        return replace(self, earlier=(before.root, *before.earlier)[: kept - 1])
