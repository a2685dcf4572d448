"""Routes that do nothing, do too much, or were left in a state that was meant for a while."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from policy.edge import Listener
from policy.kinds import Method, Tier
from policy.lint.access import answers_itself
from policy.lint.finding import Fault
from policy.model import Access, Gateway, Match
from policy.problem import FieldPath
from policy.rewriting import Redirect
from policy.route import Route
from policy.routing import Match as Taken
from policy.routing import matched, redirected
from policy.traffic import IDEMPOTENT

_LONG_MS: Final = 300_000
# What Envoy answers by itself (xds/compiler/filters/health_check.py).
_HEALTH: Final = "/healthz"
# authz admits no body with these, and looks for no schema.
_BODILESS: Final = frozenset({Method.GET, Method.HEAD, Method.OPTIONS})
_WITH_BODY: Final = frozenset({Method.POST, Method.PUT, Method.PATCH})


def unreachable(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        at: FieldPath = ("routes", name)
        if not gateway.listeners_of(route):
            yield Fault((*at, "listeners"), "no listener serves it")
        elif not gateway.methods_of(route):
            yield Fault((*at, "methods"), "it admits no method")
        elif route.tiers is not None and not route.tiers:
            yield Fault((*at, "tiers"), "it admits no tier")
        elif route.match is Match.EXACT and route.path == _HEALTH:
            yield Fault((*at, "path"), f"Envoy itself answers {_HEALTH}")
        elif _nobody(gateway, route):
            where = at if route.callers is not None else ()
            yield Fault((*where, "callers"), "no role is named that gets in, or agents, who are of tier internal")
        elif _no_address(gateway, route):
            yield Fault((*at, "networks"), "no address is both in its allow-lists and in those of its listeners")


def unchecked_body(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        for method in route.body:
            if method in _BODILESS:
                yield Fault(("routes", name, "body", method.value), f"{method} has no body, so this schema checks none")
        unchecked = [one for one in gateway.methods_of(route) if one in _WITH_BODY and one not in route.body]
        if any(method in _WITH_BODY for method in route.body) and unchecked:
            what = f"bodies of {', '.join(unchecked)} pass unchecked, beside others that must meet a schema"
            yield Fault(("routes", name, "body"), what)


def longer_than_admitted(gateway: Gateway) -> Iterator[Fault]:
    longest = {name: _longest_text(schema) for name, schema in gateway.schemas.items()}
    for name, route in gateway.routes.items():
        most = gateway.max_body_of(route)
        for method, schema in route.body.items():
            if longest[schema] > most:
                admitted = f"{schema!r} admits texts of {longest[schema]} characters"
                what = f"{admitted}, and a body of more than {most} bytes is 413"
                yield Fault(("routes", name, "body", method.value), what)


def retried_writes(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.retries is None or route.retries.safe:
            continue
        for index, method in enumerate(route.retries.methods or ()):
            if method not in IDEMPOTENT:
                what = f"a {method} that the service has carried out may be sent to it again"
                yield Fault(("routes", name, "retries", "methods", index), what)


def mirrored_to_itself(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        own = {*(route.split or ()), *((route.upstream,) if route.upstream else ())}
        for index, mirror in enumerate(route.mirror):
            if mirror.upstream in own:
                at = ("routes", name, "mirror", index, "upstream")
                yield Fault(at, "the service itself gets the copy: everything happens twice")


def long_timeout(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if (route.timeout_ms or 0) > _LONG_MS and route.streaming is None:
            yield Fault(("routes", name, "timeout_ms"), "a request holds its connection for more than five minutes")
    if gateway.defaults.timeout_ms > _LONG_MS:
        yield Fault(("defaults", "timeout_ms"), "requests hold their connections for more than five minutes")


def fault_left_on(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.fault is not None:
            yield Fault(("routes", name, "fault"), "requests fail or wait on purpose")


def maintenance_left_on(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.maintenance is not None:
            yield Fault(("routes", name, "maintenance"), "every request is answered 503")


def endless_deprecation(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.deprecation is not None and route.deprecation.sunset is None and not route.deprecation.removed:
            yield Fault(("routes", name, "deprecation"), "clients are told to leave, and not until when")


def redirect_to_any_host(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.access is Access.PUBLIC and route.redirect is not None and route.redirect.host is None:
            yield Fault(("routes", name, "redirect"), "clients are sent to whatever host the request names")


def endless_redirect(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.redirect is None:
            continue
        # The path itself, and one below it where the route takes those too.
        below = () if route.match is Match.EXACT else (f"{route.path.rstrip('/')}/x",)
        for listener in gateway.listeners_of(route):
            if any(_comes_back(gateway, listener, name, path) for path in (route.path, *below)):
                yield Fault(("routes", name, "redirect"), f"it leads back to itself on {listener!r}")
                break


def _comes_back(gateway: Gateway, listener: str, name: str, path: str) -> bool:
    """Whether a client that follows redirects from this path comes to the route again."""
    seen: set[str] = set()
    door = gateway.listeners.get(listener)
    while door is not None and isinstance(found := matched(gateway, listener, path), Taken):
        route = gateway.routes[found.route]
        if found.route in seen or route.redirect is None or route.answered or not _stays(door, route.redirect):
            return found.route == name and found.route in seen
        seen.add(found.route)
        path = redirected(route, route.redirect, found.path)
    return False


def _stays(door: Listener, to: Redirect) -> bool:
    """Whether a redirect leads to the listener that it came from, as far as the file can tell."""
    return to.host is None and to.port is None and (not to.https or door.tls is not None)


def mirrored_credentials(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        for index, mirror in enumerate(route.mirror):
            if mirror.credentials:
                at = ("routes", name, "mirror", index, "credentials")
                yield Fault(at, f"tokens, keys and signatures are copied to {mirror.upstream!r}")


def _no_address(gateway: Gateway, route: Route) -> bool:
    own = [network for name in gateway.networks_of(route) for network in gateway.networks.get(name, ())]
    if not own:
        # None at all, or an empty one, which is a finding of its own.
        return False
    listeners = [gateway.listeners[name] for name in gateway.listeners_of(route) if name in gateway.listeners]
    lists = [[each for name in one.networks for each in gateway.networks.get(name, ())] for one in listeners]
    return bool(lists) and all(each and not _meet(own, each) for each in lists)


def _meet(some: Sequence[str], others: Sequence[str]) -> bool:
    return any(
        one.version == other.version and one.overlaps(other)
        for one in map(ipaddress.ip_network, some)
        for other in map(ipaddress.ip_network, others)
    )


def _nobody(gateway: Gateway, route: Route) -> bool:
    """Whether the callers of a route turn out to be none."""
    callers = gateway.callers_of(route)
    if route.access is Access.PUBLIC or answers_itself(route) or callers.partners:
        return False
    # Agents that sign have this tier.
    if callers.agents and Tier.INTERNAL in gateway.tiers_of(route):
        return False
    return not any(callers.tokens.values())


def _longest_text(schema: JsonValue | Mapping[str, JsonValue]) -> int:
    """The longest text that a JSON Schema speaks of, in characters; each takes a byte at least."""
    if isinstance(schema, list):
        return max(map(_longest_text, schema), default=0)
    if not isinstance(schema, Mapping):
        return 0
    own = schema.get("maxLength")
    return max(own if isinstance(own, int) else 0, *map(_longest_text, schema.values()), 0)
