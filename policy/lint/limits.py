"""How often: routes without limits, and limits that refuse nobody."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from policy.limit_shapes import answered_by_check, asked_by_envoy
from policy.limits import Limit, Per, StoreFailure
from policy.lint.access import answers_itself
from policy.lint.finding import Fault
from policy.model import Access, Gateway
from policy.problem import FieldPath
from policy.route import Route

_ANSWERED_BY: Final[FieldPath] = ("services", "ratelimit", "answered_by")


def unlimited_public(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        asks = route.access is Access.PUBLIC and not answers_itself(route)
        # A limit that only counts is none for those whom nobody knows.
        limits = [limit for limit in gateway.limits_of(route) if not gateway.limits[limit].shadow]
        if asks and not limits and route.local_limit is None:
            yield Fault(("routes", name), "anybody may call it as often as they like")


def unlimited_callers(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        asks = route.access is Access.CALLERS and not answers_itself(route)
        if asks and not gateway.limits_of(route) and route.local_limit is None:
            yield Fault(("routes", name), "a caller may call it as often as they like")


def refuses_nobody(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.access is Access.PUBLIC or answers_itself(route):
            continue
        limits = [gateway.limits[limit] for limit in gateway.limits_of(route)]
        if limits and all(limit.shadow or _unbounded(gateway, route, limit) for limit in limits):
            yield Fault(("routes", name), "its limits only count (shadow, or unlimited for every tier)")


def one_takes_all(gateway: Gateway) -> Iterator[Fault]:
    seen: set[tuple[str, str]] = set()
    for route in gateway.routes.values():
        limits = {name: gateway.limits[name] for name in gateway.limits_of(route)}
        for name, shared in limits.items():
            if shared.per is not Per.GATEWAY or shared.requests is None:
                continue
            for other, own in limits.items():
                most = _most(gateway, route, own)
                takes = own.per is not Per.GATEWAY and own.unit is shared.unit and most > shared.requests
                if takes and (name, other) not in seen:
                    seen.add((name, other))
                    what = f"one caller may send {most} by {other!r}, more than all of them together"
                    yield Fault(("limits", name, "requests"), what)


def fails_open(gateway: Gateway) -> Iterator[Fault]:
    used = {limit for route in gateway.routes.values() for limit in gateway.limits_of(route)}
    for name, limit in gateway.limits.items():
        if limit.on_store_failure is StoreFailure.OPEN and name in used:
            yield Fault(
                ("limits", name, "on_store_failure"), "while its counter cannot be reached there is no limit at all"
            )


def counted_apart(gateway: Gateway) -> Iterator[Fault]:
    authz, ratelimit = gateway.services.authz.endpoint, gateway.services.ratelimit.endpoint
    if not asked_by_envoy(gateway) and _machine(authz) != _machine(ratelimit):
        what = f"Checks count at {authz}, and {ratelimit} is another machine, which is asked by nobody"
        yield Fault(_ANSWERED_BY, what)


def nothing_to_count(gateway: Gateway) -> Iterator[Fault]:
    counted = any(answered_by_check(gateway, route) for route in gateway.routes.values())
    if not asked_by_envoy(gateway) and not counted:
        yield Fault(_ANSWERED_BY, "no route has a limit that a Check could count")


def _machine(endpoint: str) -> str:
    """The host of an endpoint; the same for everything on this machine."""
    host = "" if endpoint.startswith("unix:") else endpoint.rpartition(":")[0].strip("[]").lower()
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost"
    return "" if here else host


def _figures(gateway: Gateway, route: Route, limit: Limit) -> list[int | None]:
    if limit.tiers is None:
        return [limit.requests]
    return [limit.figure(tier) for tier in gateway.tiers_of(route) if tier in limit.tiers]


def _unbounded(gateway: Gateway, route: Route, limit: Limit) -> bool:
    return not (limit.tenants or limit.partners) and all(figure is None for figure in _figures(gateway, route, limit))


def _most(gateway: Gateway, route: Route, limit: Limit) -> int:
    return max((figure for figure in _figures(gateway, route, limit) if figure is not None), default=0)
