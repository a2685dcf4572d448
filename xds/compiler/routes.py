"""Which path goes where: one route configuration a listener, and nothing for what no route names (404)."""

from collections.abc import Sequence
from datetime import timedelta
from functools import lru_cache

from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RedirectAction,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any as PackedMessage

from policy import descriptors
from policy.header_changes import CREDENTIAL_HEADERS
from policy.limit_shapes import LimitShape
from policy.model import Gateway
from xds.compiler import names, traffic
from xds.compiler.encode import draft, encode, entries, entry, pack
from xds.compiler.filters import buffer, cors, ext_authz, ratelimit
from xds.compiler.forwarding import default_retries, time_outs
from xds.compiler.units import ListenerUnit, RouteKey, RouteUnit, host_limits, traffic_of

_HTTPS = 443
_CHALLENGE_TIMEOUT = timedelta(seconds=5)


def route_configuration(gateway: Gateway, unit: ListenerUnit, routes: Sequence[RouteKey]) -> RouteConfiguration:
    """The routes of a listener under one virtual host, which holds what they have in common."""
    bodies = _redirects(unit) if unit.redirects else entries(Route, map(route_entry, routes))
    host = draft(
        VirtualHost,
        name=unit.name,
        domains=["*"],
        routes=bodies,
        typed_per_filter_config={} if unit.redirects else _shared(gateway, unit),
        retry_policy=None if unit.redirects else default_retries(),
    )
    return draft(RouteConfiguration, name=names.routes_of(unit.name), virtual_hosts=[host])


def _shared(gateway: Gateway, unit: ListenerUnit) -> dict[str, PackedMessage]:
    context = {
        descriptors.CONTEXT_GATEWAY: gateway.gateway,
        descriptors.CONTEXT_POLICY: gateway.version,
        descriptors.CONTEXT_LISTENER: unit.name,
    }
    shared = {
        ext_authz.NAME: pack(ext_authz.for_host(context)),
        # The filter stays where authz counts, and asks nothing: which of the two it is, comes and goes with the version
        # of the policy above, in one resource, so that no request is counted twice or not at all.
        ratelimit.NAME: pack(ratelimit.for_limits(host_limits(gateway))),
    }
    if unit.listener.cors is not None:
        shared[cors.NAME] = pack(cors.policy_of(unit.listener.cors))
    return shared


def _redirects(unit: ListenerUnit) -> list[Route]:
    """Everything to https; but an ACME server asks for its challenge over plain HTTP (RFC 8555 §8.3)."""
    port = unit.listener.redirect_to_https_port
    # 443 goes without saying; the host's own port is stripped by the connection manager.
    redirect = RedirectAction(https_redirect=True, port_redirect=0 if port in {None, _HTTPS} else port or 0)
    routes = [Route(name="https", match=RouteMatch(prefix="/"), redirect=redirect)]
    if (upstream := unit.listener.acme_challenge) is not None:
        action = RouteAction(cluster=upstream, timeout=_CHALLENGE_TIMEOUT)
        # GET for one token and nothing else: nobody is asked who they are here.
        match = RouteMatch(
            safe_regex=RegexMatcher(regex=r"/\.well-known/acme-challenge/[A-Za-z0-9_-]+"),
            headers=[HeaderMatcher(name=":method", string_match=StringMatcher(exact="GET"))],
        )
        strangers = [*CREDENTIAL_HEADERS, "x-forwarded-for"]
        routes.insert(0, Route(name="acme-challenge", match=match, route=action, request_headers_to_remove=strangers))
    return routes


# Routes are the one thing of which there are thousands: each is built and encoded once, however often its
# gateway is compiled. The bound is the largest policy foreseen, twice over.
@lru_cache(maxsize=65_536)
def route_entry(key: RouteKey) -> bytes:
    """A route as an item of its virtual host; as several, where not all requests are forwarded in the same way."""
    unit = RouteUnit(*key)
    own = {ext_authz.NAME: pack(ext_authz.for_route(unit))}
    if unit.max_body_bytes is not None:
        own[buffer.NAME] = pack(buffer.for_route(unit.max_body_bytes))
    if unit.limits is not None:
        own[ratelimit.NAME] = limits_of_route(unit.limits)
    if unit.traffic is not None:
        routes = traffic.routes(unit, _match(unit), own, traffic_of(unit.traffic))
        return b"".join([entry(VirtualHost, "routes", encode(route)) for route in routes])
    times = time_outs(unit.timeout_ms, None)
    action = draft(RouteAction, cluster=unit.upstream, timeout=times.whole, idle_timeout=times.idle)
    route = draft(Route, name=unit.name, match=_match(unit), route=action, typed_per_filter_config=own)
    return entry(VirtualHost, "routes", encode(route))


@lru_cache(maxsize=4_096)
def limits_of_route(limits: tuple[LimitShape, ...]) -> PackedMessage:
    """The limits of a route that differ from its host's. Few sets of them serve many routes."""
    return pack(ratelimit.for_limits(limits))


def _match(unit: RouteUnit) -> RouteMatch:
    if not unit.prefix:
        return draft(RouteMatch, path=unit.path)
    if unit.path == "/":
        return draft(RouteMatch, prefix="/")
    # Whole segments: /api/sales does not match /api/sales-reports.
    return draft(RouteMatch, path_separated_prefix=unit.path)
