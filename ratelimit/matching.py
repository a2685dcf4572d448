"""From descriptors to the counters that are charged."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Final, TypeAlias

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow
from ratelimit.request import Descriptor, Entries, Override, Request
from ratelimit.rules import USUAL_NAMES, DomainRules, HeaderNames, Headers, Rule
from ratelimit.store import Charge, Outcome

_KINDS: Mapping[type, bytes] = {Gcra: b"g", FixedWindow: b"f", SlidingWindow: b"s", CalendarQuota: b"q"}
_PLAIN_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
# An override's figures come with the request and would be without end as a metric label.
_OVERRIDE = "override"
_LONGEST_LABEL: Final = 128

# How metrics speak of what applies to a descriptor: (limit, unmatched | unlimited | asked | enforced | shadow).
Label: TypeAlias = tuple[str, str]
_UNMATCHED: Final[Label] = ("none", "unmatched")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: a rule or none per descriptor, and a charge for each rule that has a limit.

    `limited` are the rules that have one, as the charges are ordered. `domain` is None where nobody configured it.
    `quotas` are those of `limited`, by index, that refuse only all together: two or more, or none.
    `local`, of each of `limited`: whether it is counted in the process while the store is away; empty if none is, or if
    another insists on the store. `overrun`: DomainRules.
    """

    domain: str | None
    labels: tuple[Label, ...]
    rules: tuple[Rule | None, ...]
    limited: tuple[Rule, ...]
    charges: tuple[Charge, ...]
    headers: Headers
    names: HeaderNames = USUAL_NAMES
    metadata: bool = False
    quotas: tuple[int, ...] = ()
    local: tuple[bool, ...] = ()
    overrun: bool = False

    def settled(self, outcome: Outcome) -> Outcome:
        """What a store's outcome means: no store knows of limits that refuse only together."""
        if not self.quotas or any(outcome.readings[index][0] for index in self.quotas):
            return outcome
        return Outcome(False, outcome.readings)

    def rest(self, outcome: Outcome) -> "Plan | None":
        """What is still to be spent where a cost did not fit that has been incurred already; None: nothing."""
        if not self.overrun or not outcome.readings or all(charge.hits <= 1 for charge in self.charges):
            return None
        local = self.local or (False,) * len(self.limited)
        unpaid = [
            (rule, replace(charge, hits=min(charge.hits, reading[1]), enforced=False), counted)
            for rule, charge, reading, counted in zip(self.limited, self.charges, outcome.readings, local, strict=True)
            # What is given back (negative) is no cost: a refused request gives back nothing.
            if charge.hits > 0 and (not outcome.admitted or not reading[0])
        ]
        if not unpaid:
            return None
        rules, charges, local = zip(*unpaid, strict=True)
        labels = tuple((rule.name, "overrun") for rule in rules)
        return Plan(self.domain, labels, rules, rules, charges, Headers.NEVER, local=local if any(local) else ())

    @property
    def fails_open(self) -> bool:
        """Whether the request passes while the store cannot decide: if none of its limits insists."""
        return all(rule.fails_open or rule.shadow for rule in self.limited)


def plan(request: Request, domains: Mapping[str, DomainRules]) -> Plan:
    """Find the rules; a domain that nobody configured has none, and passes; of a descriptor, the domain says."""
    domain = domains.get(request.domain)
    if domain is None:
        unmatched = len(request.descriptors)
        return Plan(None, (_UNMATCHED,) * unmatched, (None,) * unmatched, (), (), Headers.NEVER)
    rules = _unreplaced(tuple(_rule(domain, descriptor) for descriptor in request.descriptors))
    matched = [(rule, each) for rule, each in zip(rules, request.descriptors, strict=True) if rule is not None]
    limited = tuple(rule for rule, _ in matched if rule.limit is not None)
    quotas = tuple(index for index, rule in enumerate(limited) if rule.quota and not rule.shadow)
    if len(quotas) == 1:
        # All of one: it refuses like any other, and so before anything is charged.
        quotas = ()
    charges = tuple(
        Charge(
            counter_key(request.domain, rule.subject(descriptor.entries), rule.limit, descriptor.override),
            rule.limit,
            descriptor.hits,
            not rule.shadow and not (rule.quota and quotas),
        )
        for rule, descriptor in matched
        if rule.limit is not None
    )
    labels = tuple(_label(rule, each) for rule, each in zip(rules, request.descriptors, strict=True))
    return Plan(
        request.domain,
        labels,
        rules,
        limited,
        charges,
        domain.headers,
        domain.names,
        domain.metadata,
        quotas,
        _local(limited),
        domain.overrun,
    )


def _local(limited: tuple[Rule, ...]) -> tuple[bool, ...]:
    local = tuple(rule.fails_local for rule in limited)
    insists = any(not (rule.fails_local or rule.fails_open or rule.shadow) for rule in limited)
    return local if any(local) and not insists else ()


def _label(rule: Rule | None, descriptor: Descriptor) -> Label:
    if rule is None:
        return _UNMATCHED
    name = rule.name if not rule.told else _telling(rule, rule.subject(descriptor.entries))
    if rule.limit is None:
        return name, "unlimited"
    if not descriptor.hits:
        return name, "asked"
    return name, "shadow" if rule.shadow else "enforced"


def _telling(rule: Rule, entries: Entries) -> str:
    """The place of a rule with the values that its metrics are to tell; what is shared tells what it is shared as."""
    places = (
        f"{key}_{value}" if index in rule.told and value else place
        for index, (place, (key, value)) in enumerate(zip(rule.places, entries, strict=True))
    )
    return ".".join(places)[:_LONGEST_LABEL]


def _rule(domain: DomainRules, descriptor: Descriptor) -> Rule | None:
    if descriptor.override is not None:
        return _overridden(descriptor.override, domain)
    return domain.match(descriptor.entries)


def _unreplaced(rules: tuple[Rule | None, ...]) -> tuple[Rule | None, ...]:
    replaced = {name for rule in rules if rule is not None for name in rule.replaces}
    if not replaced:
        return rules
    return tuple(None if rule is not None and rule.known_as in replaced else rule for rule in rules)


def _overridden(override: Override, domain: DomainRules) -> Rule:
    return Rule(
        _OVERRIDE,
        FixedWindow(override.amount, override.unit.microseconds),
        override.unit,
        on_store_failure=domain.on_store_failure,
        shadow=domain.shadow,
    )


def counter_key(domain: str, entries: Entries, limit: Limit, override: Override | None = None) -> bytes:
    """`rl:{domain}:KIND:HASH`, at most 100 bytes whatever the descriptor holds, and nothing of it readable.

    Every part is hashed with its length before it, so that no value can be spelt to share another's counter. The
    braces are Redis Cluster's hash tag: a request's counters lie on one node, where one script can charge them all.
    A changed figure keeps the counter. Another algorithm or unit, whose states mean something else, begins a new one:
    processes that disagree for a while would take each other's states for those of a wrong clock, forget them, and
    none of them would refuse anybody. A limit that comes with the request has counters of its own for each unit, as it
    can come beside the rule's.
    """
    kind = _KINDS[type(limit)] if override is None else b"o-" + override.unit.encode()
    digest = blake2b(digest_size=16)
    for part in (domain, str(limit.period), *(text for entry in entries for text in entry)):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    tag = domain if _PLAIN_DOMAIN.fullmatch(domain) else "~" + blake2b(domain.encode(), digest_size=8).hexdigest()
    return b"rl:{%b}:%b:%b" % (tag.encode(), kind, urlsafe_b64encode(digest.digest())[:22])
