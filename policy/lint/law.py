"""What no migration may wave through unsaid: the ages of children, and who signs for an agent."""

from collections.abc import Iterator
from typing import Final

from policy.lint.finding import Fault
from policy.model import Access, Gateway
from policy.modes import Mode
from policy.problem import FieldPath
from policy.route import Route
from policy.rules import AgeRule, RuleMode

# In `optional` rules are enforced on everybody, and who shows no credential states no age.
_UNRULED: Final = frozenset({Mode.OFF, Mode.SHADOW})


def waived(gateway: Gateway) -> Iterator[Fault]:
    for name, rule in gateway.rules.items():
        if isinstance(rule, AgeRule) and rule.mode is not RuleMode.ENFORCE:
            yield Fault(("rules", name, "mode"), f"{rule.mode}: children are served without a parent's consent")
    for name, route in gateway.routes.items():
        yield from _ages_unasked(gateway, name, route)
        if gateway.callers_of(route).agents and route.access is Access.CALLERS and _mode(gateway, route):
            yield Fault(_where(name, route), f"{_mode(gateway, route)}: anybody passes for an agent, unsigned")


def consents_of_others(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        issuers = sorted(gateway.callers_of(route).tokens)
        if len(issuers) > 1 and route.access is Access.CALLERS and _age_rules(gateway, gateway.rules_of(route)):
            where = ("routes", name, "callers") if route.callers is not None else ("callers",)
            what = f"a consent names a child as its token does, and {' and '.join(issuers)} may both call a child so"
            yield Fault(where, f"{name}: {what}")


def _ages_unasked(gateway: Gateway, name: str, route: Route) -> Iterator[Fault]:
    held = _age_rules(gateway, gateway.rules_of(route))
    if held and gateway.mode_of(route) in _UNRULED:
        yield Fault(_where(name, route), f"{_mode(gateway, route)}: rule {held[0]!r} keeps no child from being served")
    left_out = _age_rules(gateway, gateway.defaults.rules)
    if left_out and not held and route.rules is not None and route.access is Access.CALLERS:
        yield Fault(("routes", name, "rules"), f"without {left_out[0]!r} of the defaults, nobody's age is asked")


def _age_rules(gateway: Gateway, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if isinstance(gateway.rules.get(name), AgeRule)]


def _mode(gateway: Gateway, route: Route) -> str:
    """The route's mode; empty where it is enforced."""
    mode = gateway.mode_of(route)
    return "" if mode is Mode.ENFORCE else mode.value


def _where(name: str, route: Route) -> FieldPath:
    # On the route in any case, so that one route can be excepted of a gateway's mode.
    return ("routes", name) if route.mode is None else ("routes", name, "mode")
