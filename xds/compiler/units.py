"""The parts of a policy that become Envoy configuration one by one.

A unit holds everything that its configuration depends on and nothing else, and it is hashable: equal units are
compiled once, so a policy in which one route of ten thousand has changed costs one route.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from policy.edge import Listener, Services
from policy.limit_shapes import LimitShape, asked_by_envoy, shapes_of
from policy.limits import StoreFailure
from policy.model import Gateway, Match
from policy.traffic import Traffic


class ListenerUnit(NamedTuple):
    """A socket, and what its filters need to know of the gateway."""

    gateway: str
    name: str
    listener: Listener
    services: Services
    # Whether a request is refused while the rate-limit service cannot answer.
    limits_fail_closed: bool
    # The longest body of a request, where its route says nothing else.
    max_body_bytes: int
    # What some route here needs a filter for that the others do without.
    some_cors: bool
    some_faults: bool
    some_local_limits: bool

    @property
    def redirects(self) -> bool:
        return self.listener.redirect_to_https_port is not None


class RouteUnit(NamedTuple):
    """A route as one listener serves it, every default resolved. Units sort by the order in which Envoy tries them."""

    # The longest path first: Envoy takes the first that matches, and a longer path says more than a shorter one.
    shortness: int
    path: str
    # Of two routes with one path the exact one says more.
    prefix: bool
    name: str
    # Empty where its traffic policies say where it leads.
    upstream: str
    timeout_ms: int
    # The longest body that authz is shown; 0 where it needs none.
    checked_body_bytes: int
    # The longest body of a request; None: that of the listener.
    max_body_bytes: int | None
    # None: those of the virtual host.
    limits: tuple[LimitShape, ...] | None
    # The traffic policies in canonical JSON; None: there are none. What is shared by all routes is none of them.
    traffic: str | None


# The fields of a RouteUnit, as a plain tuple: it is made, compared and looked up faster, and each change of a policy
# does that with every route.
RouteKey = tuple[int, str, bool, str, str, int, int, int | None, tuple[LimitShape, ...] | None, str | None]


def listener_units(gateway: Gateway) -> Iterator[ListenerUnit]:
    # The filter has one answer to a lost rate-limit service for all limits, so the strictest of them decides.
    closed = any(limit.on_store_failure is not StoreFailure.OPEN for limit in gateway.limits.values())
    special = [route for route in gateway.routes.values() if route.traffic is not None]
    for name, listener in gateway.listeners.items():
        here = [route for route in special if name in gateway.listeners_of(route)]
        yield ListenerUnit(
            gateway=gateway.gateway,
            name=name,
            listener=listener,
            services=gateway.services,
            limits_fail_closed=closed,
            max_body_bytes=gateway.defaults.max_body_bytes,
            some_cors=any(route.cors is not None for route in here),
            some_faults=any(route.fault is not None for route in here),
            some_local_limits=any(route.local_limit is not None for route in here),
        )


def host_limits(gateway: Gateway) -> tuple[LimitShape, ...]:
    """What Envoy asks the rate-limit service about, where a route says nothing else; nothing, where authz counts."""
    return shapes_of(gateway, gateway.defaults.limits) if asked_by_envoy(gateway) else ()


def route_keys(gateway: Gateway, listener: str) -> list[RouteKey]:
    """The routes of a listener, in the order in which Envoy shall try them."""
    timeout_ms, most_bytes = gateway.defaults.timeout_ms, gateway.defaults.max_body_bytes
    shapes: dict[tuple[str, ...] | None, tuple[LimitShape, ...] | None] = {None: None, gateway.defaults.limits: None}
    by_envoy = asked_by_envoy(gateway)
    keys = []
    for name, route in gateway.routes.items():
        if route.listeners is not None and listener not in route.listeners:
            continue
        path, limits, longest = route.path, route.limits if by_envoy else None, route.max_body_bytes
        if limits is not None and limits not in shapes:
            shapes[limits] = shapes_of(gateway, limits)
        keys.append(
            (
                -len(path),
                path,
                route.match is Match.PREFIX,
                name,
                route.upstream or "",
                route.timeout_ms or timeout_ms,
                (longest or most_bytes) if gateway.checks_body(route) else 0,
                None if longest == most_bytes else longest,
                shapes[limits],
                route.traffic,
            )
        )
    keys.sort()
    return keys


def upstreams_of(keys: Iterable[RouteKey]) -> set[str]:
    """Where these routes lead, copies included. What Envoy answers by itself leads nowhere."""
    found: set[str] = set()
    for _, _, _, _, upstream, _, _, _, _, traffic in keys:
        if traffic is None:
            found.add(upstream)
        else:
            found |= _leads_to(upstream, traffic)
    return found


@lru_cache(maxsize=65_536)
def traffic_of(text: str) -> Traffic:
    """The traffic policies of a unit."""
    return Traffic.model_validate_json(text)


@lru_cache(maxsize=65_536)
def _leads_to(upstream: str, text: str) -> frozenset[str]:
    traffic = traffic_of(text)
    if traffic.answered or traffic.redirect is not None:
        return frozenset()
    return frozenset([upstream] if upstream else traffic.split or ()) | {one.upstream for one in traffic.mirror}
