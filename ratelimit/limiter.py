"""One gateway's limits in force: rules by domain, and the store that counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from policy.limits import StoreFailure
from policy.model import Gateway
from ratelimit.local_limits import LocalLimits
from ratelimit.matching import Plan, plan
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.policy_limits import compile_limits
from ratelimit.request import Descriptor, Entries, Request
from ratelimit.rules import DomainRules, Headers, Node, Rule
from ratelimit.store import CounterStore, ImmediateStore, Outcome, Unavailable

# As many as authz decides by (kept_versions), the newest among them.
_KEPT_VERSIONS: Final = 16
_UNCOUNTED: Final = Outcome(True, ())


@dataclass(frozen=True, slots=True)
class Usage:
    """What is left to one counter. Times in microseconds; `limit` None: unlimited."""

    rule: Rule
    remaining: int
    reset_after: int


# No request can name it: an empty domain is an error.
_NOWHERE = DomainRules("", Node(), Headers.NEVER, strict=True)


class RateLimiter:
    """Decides by the rules of the moment. Rules are replaced whole; counters of limits that stay are kept."""

    def __init__(
        self,
        store: CounterStore,
        metrics: RateLimitMetrics,
        *,
        strict: bool = False,
        local: LocalLimits | None = None,
    ) -> None:
        """`strict`: a domain that nobody put in force is refused; without it, such a domain has no limits.

        `local`: counts while the store is away, where a limit says so; None: as the only process.
        """
        self._strict = strict
        self._local = local or LocalLimits()
        self._store, self.metrics = store, metrics
        # Counters in memory cost less by the batch than one by one (docs/adr/0027).
        at_once = isinstance(store, ImmediateStore) and not isinstance(store, MemoryStore)
        self._immediate: ImmediateStore | None = cast("ImmediateStore", store) if at_once else None
        self._domains: Mapping[str, DomainRules] = {}
        # Plans made before the rules changed are recognised by it.
        self.generation = 0

    def replace_rules(self, gateway: Gateway) -> None:
        """Put a gateway's limits in force. Raises ValueError, and changes nothing, for what cannot be counted.

        What Envoy asks by one of the few versions before, and the new one has no rule for, goes on counting.
        """
        rules = compile_limits(gateway)
        self.install(rules.after(self._domains.get(rules.domain), _KEPT_VERSIONS))

    def admit_candidate(self, gateway: Gateway) -> None:
        """Know the limits of a policy that is tried on some Envoys; where both have a limit, the current figure counts.

        Raises ValueError, and changes nothing, for what cannot be counted, or where nothing is in force yet.
        """
        rules = compile_limits(gateway)
        current = self._domains.get(rules.domain)
        if current is None:
            raise ValueError(f"no limits of {rules.domain!r} are in force that a candidate could stand beside")
        earlier = (rules.root, *current.earlier)[: _KEPT_VERSIONS - 1]
        self.install(replace(current, earlier=earlier))

    def install(self, rules: DomainRules) -> None:
        """Put a domain's rules in force, instead of those that it had."""
        self._domains = {**self._domains, rules.domain: rules}
        self.metrics.counts_for(rules.domain)
        self.generation += 1

    def install_all(self, rules: Mapping[str, DomainRules]) -> None:
        """Put these domains in force, and no others."""
        self._domains = dict(rules)
        for domain in rules:
            self.metrics.counts_for(domain)
        self.generation += 1

    @property
    def domains(self) -> Mapping[str, DomainRules]:
        """The rules in force."""
        return self._domains

    def plan(self, request: Request) -> Plan:
        """What a request is charged; good until `generation` changes."""
        if self._strict and request.domain not in self._domains:
            # An Envoy of another gateway, or one ahead of us: whatever it asks, nobody here can say how often.
            return plan(replace(request, domain=_NOWHERE.domain), {_NOWHERE.domain: _NOWHERE})
        return plan(request, self._domains)

    async def decide_many(self, plans: Sequence[Plan]) -> list[Outcome | Unavailable]:
        """Decide each as if alone, one after the other, in one round trip of the store.

        No readings: it passes uncounted, as no limit applies or all that do may fail open. Unavailable: the store was
        lost and a limit insists on being counted, so the request must not pass.
        """
        charged = [planned.charges for planned in plans if planned.charges]
        outcomes = iter(await self._store.charge_many(charged) if charged else ())
        return [self._noted(planned, next(outcomes) if planned.charges else _UNCOUNTED) for planned in plans]

    def decide_now(self, planned: Plan) -> Outcome | Unavailable | None:
        """Decide one, where its store need not be waited for; None, and nothing is charged, where it must."""
        if not planned.charges:
            return self._noted(planned, _UNCOUNTED)
        outcomes = None if self._immediate is None else self._immediate.charge_now((planned.charges,))
        return None if outcomes is None else self._noted(planned, outcomes[0])

    def _noted(self, planned: Plan, outcome: Outcome | Unavailable) -> Outcome | Unavailable:
        if isinstance(outcome, Outcome):
            outcome = planned.settled(outcome)
            self.metrics.decided(planned, outcome.admitted, outcome.readings)
            if planned.local and outcome.readings:
                self._local.heard(planned.charges, planned.local, outcome.readings)
            return outcome
        self.metrics.lost(planned, outcome.loss)
        if not planned.local:
            return _UNCOUNTED if planned.fails_open else outcome
        instead = self._local.charge(planned.charges, planned.local)
        if isinstance(instead, Outcome):
            instead = planned.settled(instead)
            self.metrics.decided(planned, instead.admitted, instead.readings)
        return instead

    async def usage(self, domain: str, descriptors: Sequence[Entries]) -> Sequence[Usage | None] | Unavailable:
        """What is left to each counter, without charging it; None where no rule with a limit applies."""
        planned = self.plan(Request(domain, tuple(Descriptor(entries, 0) for entries in descriptors)))
        readings = await self._store.peek(planned.charges) if planned.charges else ()
        if isinstance(readings, Unavailable):
            return readings
        rest = iter(readings)
        result: list[Usage | None] = []
        for rule in planned.rules:
            if rule is None or rule.limit is None:
                result.append(None)
            else:
                _, remaining, _, reset_after = next(rest)
                result.append(Usage(rule, remaining, reset_after))
        return result

    async def ready(self) -> bool:
        """Whether there are rules, and a store that would decide, or none that insists on it."""
        domains = self._domains.values()
        if not domains:
            return False
        return all(one.on_store_failure is not StoreFailure.CLOSED for one in domains) or await self._store.ready()
