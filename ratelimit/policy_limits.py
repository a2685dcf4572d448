"""A gateway's policy as rules over the descriptors that its Envoy sends (policy.descriptors)."""

from policy import descriptors
from policy.edge import LimitHeaders
from policy.limits import Burst, CountingAlgorithm, Per
from policy.limits import Limit as Written
from policy.model import Gateway
from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Headers, Node, Rule, nothing_admitted

_SECOND = 1_000_000


def compile_limits(gateway: Gateway) -> DomainRules:
    """The domain of the gateway's name. Raises ValueError for a figure or a zone that cannot be counted.

    Strict, as Envoy may be configured by another version of the policy than this one (refused, or not yet there): a
    limit that has another name here must not be no limit.
    """
    limits = {(descriptors.LIMIT, name): _node(name, limit) for name, limit in gateway.limits.items()}
    headers = Headers.ALWAYS if gateway.services.ratelimit.headers is LimitHeaders.ALWAYS else Headers.REFUSAL
    return DomainRules(gateway.gateway, Node(exact=limits), headers, strict=True)


def _node(name: str, limit: Written) -> Node:
    if limit.tiers is None:
        return _subjects(name, limit, limit.requests)
    tiers = {(descriptors.TIER, tier.value): _subjects(name, limit, limit.figure(tier)) for tier in limit.tiers}
    # R70: a tier without a figure is refused, one that authz did not name among them.
    nobody = Node(any_value={descriptors.CALLER: Node(_refusing(name, limit))})
    return Node(exact=tiers, any_value={descriptors.TIER: nobody})


def _subjects(name: str, limit: Written, figure: int | None) -> Node:
    everybody = Node(_rule(name, limit, None if figure is None else _counting(limit, figure)))
    match limit.per:
        case Per.GATEWAY:
            return everybody
        case Per.ADDRESS:
            return Node(any_value={descriptors.ADDRESS: everybody})
        case Per.CALLER:
            agreed = {
                (descriptors.CALLER, kind + who): Node(_rule(name, limit, _counting(limit, own)))
                for kind, figures in (
                    (descriptors.CALLER_TENANT, limit.tenants),
                    (descriptors.CALLER_PARTNER, limit.partners),
                )
                for who, own in figures.items()
            }
            unknown = {(descriptors.CALLER, descriptors.UNKNOWN): Node(_refusing(name, limit))}
            return Node(exact={**agreed, **unknown}, any_value={descriptors.CALLER: everybody})


def _rule(name: str, limit: Written, counting: Limit | None) -> Rule:
    return Rule(
        name,
        counting,
        Unit(limit.unit.value),
        limit.code,
        limit.refusal,
        on_store_failure=limit.on_store_failure,
        shadow=limit.shadow,
        by_network=limit.per is Per.ADDRESS,
    )


def _refusing(name: str, limit: Written) -> Rule:
    return _rule(name, limit, nothing_admitted(Unit(limit.unit.value)))


def _counting(limit: Written, amount: int) -> Limit:
    period = Unit(limit.unit.value).microseconds
    match limit.counting:
        case CountingAlgorithm.GCRA:
            burst = limit.burst or Burst()
            return Gcra(amount, period, (burst.rate - 1) * burst.seconds * _SECOND)
        case CountingAlgorithm.FIXED_WINDOW:
            return FixedWindow(amount, period)
        case CountingAlgorithm.SLIDING_WINDOW:
            return SlidingWindow(amount, period)
        case CountingAlgorithm.CALENDAR_QUOTA:
            return CalendarQuota(amount, Period(limit.unit.value), limit.time_zone)
