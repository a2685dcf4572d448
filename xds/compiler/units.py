"""The parts of a policy that become Envoy configuration one by one.

A unit holds everything that its configuration depends on and nothing else, and it is hashable: equal units are
compiled once, so a policy in which one route of ten thousand has changed costs one route.
"""

from collections.abc import Iterator
from typing import NamedTuple

from policy.edge import Listener, Services
from policy.limits import Per, StoreFailure
from policy.model import Gateway, Match


class ListenerUnit(NamedTuple):
    """A socket, and what its filters need to know of the gateway."""

    gateway: str
    name: str
    listener: Listener
    services: Services
    # Whether a request is refused while the rate-limit service cannot answer.
    limits_fail_closed: bool

    @property
    def redirects(self) -> bool:
        return self.listener.redirect_to_https_port is not None


class LimitShape(NamedTuple):
    """What of a limit its descriptor shows. The figures are the rate-limit service's business."""

    name: str
    by_tier: bool
    per: Per


class RouteUnit(NamedTuple):
    """A route as one listener serves it, every default resolved."""

    name: str
    path: str
    exact: bool
    upstream: str
    timeout_ms: int
    # The longest body that authz is shown; 0 where it needs none.
    checked_body_bytes: int
    # None: those of the virtual host.
    limits: tuple[LimitShape, ...] | None


def listener_units(gateway: Gateway) -> Iterator[ListenerUnit]:
    # The filter has one answer to a lost rate-limit service for all limits, so the strictest of them decides.
    closed = any(limit.on_store_failure is StoreFailure.CLOSED for limit in gateway.limits.values())
    for name, listener in gateway.listeners.items():
        yield ListenerUnit(gateway.gateway, name, listener, gateway.services, closed)


def limit_shapes(gateway: Gateway, names: tuple[str, ...]) -> tuple[LimitShape, ...]:
    limits = gateway.limits
    return tuple(LimitShape(name, limits[name].tiers is not None, limits[name].per) for name in names)


def route_units(gateway: Gateway, listener: str) -> list[RouteUnit]:
    """The routes of a listener, the most specific first: Envoy takes the first that matches."""
    units = []
    for name, route in gateway.routes.items():
        if listener not in gateway.listeners_of(route):
            continue
        limits = gateway.limits_of(route)
        units.append(
            RouteUnit(
                name=name,
                path=route.path,
                exact=route.match is Match.EXACT,
                upstream=route.upstream,
                timeout_ms=gateway.timeout_ms_of(route),
                checked_body_bytes=gateway.max_body_of(route) if gateway.checks_body(route) else 0,
                limits=None if limits == gateway.defaults.limits else limit_shapes(gateway, limits),
            )
        )
    # A longer path is never a prefix of a shorter one, and of two equal paths `exact` says less.
    units.sort(key=lambda unit: (-len(unit.path), unit.path, not unit.exact))
    return units
