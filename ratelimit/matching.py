"""From descriptors to the counters that are charged."""

import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, TypeAlias

from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, SlidingWindow
from ratelimit.request import Descriptor, Entries, Override, Request
from ratelimit.rules import DomainRules, Headers, Rule
from ratelimit.store import Charge

_KINDS: Mapping[type, bytes] = {Gcra: b"g", FixedWindow: b"f", SlidingWindow: b"s", CalendarQuota: b"q"}
_PLAIN_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
# An override's figures come with the request and would be without end as a metric label.
_OVERRIDE = "override"


# How metrics speak of what applies to a descriptor: (limit, unmatched | unlimited | asked | enforced | shadow).
Label: TypeAlias = tuple[str, str]
_UNMATCHED: Final[Label] = ("none", "unmatched")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a request comes to: a rule or none per descriptor, and a charge for each rule that has a limit.

    `limited` are the rules that have one, as the charges are ordered. `domain` is None where nobody configured it.
    """

    domain: str | None
    labels: tuple[Label, ...]
    rules: tuple[Rule | None, ...]
    limited: tuple[Rule, ...]
    charges: tuple[Charge, ...]
    headers: Headers

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
    limited, charges = [], []
    for rule, descriptor in zip(rules, request.descriptors, strict=True):
        if rule is not None and rule.limit is not None:
            limited.append(rule)
            key = counter_key(request.domain, rule.subject(descriptor.entries), rule.limit)
            charges.append(Charge(key, rule.limit, descriptor.hits, not rule.shadow))
    labels = tuple(_label(rule, each.hits) for rule, each in zip(rules, request.descriptors, strict=True))
    return Plan(request.domain, labels, rules, tuple(limited), tuple(charges), domain.headers)


def _label(rule: Rule | None, hits: int) -> Label:
    if rule is None:
        return _UNMATCHED
    if rule.limit is None:
        return rule.name, "unlimited"
    if not hits:
        return rule.name, "asked"
    return rule.name, "shadow" if rule.shadow else "enforced"


def _rule(domain: DomainRules, descriptor: Descriptor) -> Rule | None:
    if descriptor.override is not None:
        return _overridden(descriptor.override)
    return domain.match(descriptor.entries)


def _unreplaced(rules: tuple[Rule | None, ...]) -> tuple[Rule | None, ...]:
    replaced = {name for rule in rules if rule is not None for name in rule.replaces}
    return tuple(None if rule is not None and rule.name in replaced else rule for rule in rules) if replaced else rules


def _overridden(override: Override) -> Rule:
    return Rule(_OVERRIDE, FixedWindow(override.amount, override.unit.microseconds), override.unit)


def counter_key(domain: str, entries: Entries, limit: Limit) -> bytes:
    """`rl:{domain}:KIND:HASH`, at most 100 bytes whatever the descriptor holds, and nothing of it readable.

    Every part is hashed with its length before it, so that no value can be spelt to share another's counter. The
    braces are Redis Cluster's hash tag: a request's counters lie on one node, where one script can charge them all.
    A changed figure keeps the counter; another algorithm, whose states mean something else, begins a new one.
    """
    digest = blake2b(digest_size=16)
    for part in (domain, *(text for entry in entries for text in entry)):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    tag = domain if _PLAIN_DOMAIN.fullmatch(domain) else "~" + blake2b(domain.encode(), digest_size=8).hexdigest()
    return b"rl:{%b}:%b:%b" % (tag.encode(), _KINDS[type(limit)], urlsafe_b64encode(digest.digest())[:22])
