"""Who gets in: routes that ask nobody, allow-lists, issuers."""

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from policy.access import Algorithm
from policy.edge import ClientAddress
from policy.lint.finding import Fault
from policy.model import Access, Gateway, Match
from policy.route import Route

_DAY_SECONDS = 86_400


def answers_itself(route: Route) -> bool:
    """Envoy answers by itself, and no service is reached."""
    removed = route.deprecation is not None and route.deprecation.removed
    return route.redirect is not None or route.maintenance is not None or removed


def public_catch_all(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        everything = route.path == "/" and route.match is Match.PREFIX
        if everything and route.access is Access.PUBLIC and not answers_itself(route):
            yield Fault(("routes", name, "access"), "whatever no other route names reaches a service, from anybody")


def undeclared_hops(gateway: Gateway) -> Iterator[Fault]:
    using = {
        name for route in gateway.routes.values() if gateway.networks_of(route) for name in gateway.listeners_of(route)
    }
    for name, listener in gateway.listeners.items():
        if listener.client_address is not ClientAddress.PEER or listener.redirect_to_https_port is not None:
            continue
        if (listener.networks or name in using) and "trusted_hops" not in listener.model_fields_set:
            yield Fault(
                ("listeners", name), "addresses decide here, and nothing says how many proxies stand in front of it"
            )


def empty_allow_list(gateway: Gateway) -> Iterator[Fault]:
    used = {name for listener in gateway.listeners.values() for name in listener.networks}
    used |= {name for route in gateway.routes.values() for name in gateway.networks_of(route)}
    for name, networks in gateway.networks.items():
        if not networks and name in used:
            yield Fault(("networks", name), "an empty allow-list admits nobody")


def everybody_allowed(gateway: Gateway) -> Iterator[Fault]:
    for name, networks in gateway.networks.items():
        for index, network in enumerate(networks):
            if ipaddress.ip_network(network).prefixlen == 0:
                yield Fault(("networks", name, index), f"{network} is every address")


def shared_secret(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        if issuer.algorithm is Algorithm.HS256:
            yield Fault(("issuers", name, "algorithm"), "whoever can verify tokens of HS256 can also make them")


def keys_in_the_clear(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        url = issuer.jwks.url if issuer.jwks is not None else None
        if url is None:
            continue
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_here(parts.hostname or ""):
            yield Fault(("issuers", name, "jwks", "url"), "keys fetched without TLS can be anybody's")


def long_lived_tokens(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        if issuer.max_lifetime_seconds >= _DAY_SECONDS:
            yield Fault(("issuers", name, "max_lifetime_seconds"), "a stolen token is good for a day or more")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
