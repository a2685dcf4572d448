"""Who gets in: routes that ask nobody, allow-lists, issuers."""

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from policy.access import Algorithm, Issuer
from policy.edge import ClientAddress
from policy.lint.finding import Fault
from policy.model import Access, Gateway, Match
from policy.modes import Mode
from policy.route import Route

_DAY_SECONDS = 86_400
# What public keys and certificates are kept in.
_PUBLIC_SUFFIXES: Final = (".pem", ".pub", ".crt", ".cer", ".der", ".jwk", ".jwks", ".json")
# RFC 7518 §6, RFC 8037 §2.
_KEY_TYPES: Final[Mapping[Algorithm, str]] = {Algorithm.RS256: "RSA", Algorithm.ES256: "EC", Algorithm.EDDSA: "OKP"}
# The private parts of a key (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
_PRIVATE_PARTS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


def answers_itself(route: Route) -> bool:
    """Envoy answers by itself, and no service is reached; a redirect, unlike the others, still asks authz."""
    return route.redirect is not None or route.answered


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


def list_taken_away(gateway: Gateway) -> Iterator[Fault]:
    what = "an empty list is no allow-list: every address is admitted"
    for name, route in gateway.routes.items():
        if route.networks == () and route.access is Access.CALLERS:
            yield Fault(("routes", name, "networks"), what)
    for name, listener in gateway.listeners.items():
        if not listener.networks and "networks" in listener.model_fields_set:
            yield Fault(("listeners", name, "networks"), what)
    if not gateway.defaults.networks and "networks" in gateway.defaults.model_fields_set:
        yield Fault(("defaults", "networks"), what)


def everybody_allowed(gateway: Gateway) -> Iterator[Fault]:
    for name, networks in gateway.networks.items():
        parsed = [ipaddress.ip_network(network) for network in networks]
        v4 = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv4Network))
        v6 = ipaddress.collapse_addresses(one for one in parsed if isinstance(one, ipaddress.IPv6Network))
        for version, widths in ((4, [one.prefixlen for one in v4]), (6, [one.prefixlen for one in v6])):
            if 0 in widths:
                yield Fault(("networks", name), f"it holds every address of IPv{version}")


def shared_secret(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        if issuer.algorithm is Algorithm.HS256:
            yield Fault(("issuers", name, "algorithm"), "whoever can verify tokens of HS256 can also make them")


def public_key_as_secret(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        if issuer.secret_file is not None and issuer.secret_file.lower().endswith(_PUBLIC_SUFFIXES):
            what = "the name of a key or certificate, which others know: whoever knows it can make tokens of HS256"
            yield Fault(("issuers", name, "secret_file"), what)
    for name, index, issuer, key in _written_keys(gateway):
        expected = _KEY_TYPES.get(issuer.algorithm)
        if key.get("kty") != expected:
            what = f"a key of type {key.get('kty')!r} verifies no {issuer.algorithm} token, which takes {expected}"
            yield Fault(("issuers", name, "jwks", "keys", index), what)


def private_keys_in_the_file(gateway: Gateway) -> Iterator[Fault]:
    for name, index, _, key in _written_keys(gateway):
        if any(part in key for part in _PRIVATE_PARTS):
            what = "a private key: whoever reads this file can make tokens"
            yield Fault(("issuers", name, "jwks", "keys", index), what)


def keys_in_the_clear(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        url = issuer.jwks.url if issuer.jwks is not None else None
        if url is None:
            continue
        if url.startswith("http://") and not _is_here(_host(url)):
            yield Fault(("issuers", name, "jwks", "url"), "keys fetched without TLS can be anybody's")


def long_lived_tokens(gateway: Gateway) -> Iterator[Fault]:
    for name, issuer in gateway.issuers.items():
        if issuer.max_lifetime_seconds >= _DAY_SECONDS:
            yield Fault(("issuers", name, "max_lifetime_seconds"), "a stolen token is good for a day or more")


def _written_keys(gateway: Gateway) -> Iterator[tuple[str, int, Issuer, Mapping[str, object]]]:
    for name, issuer in gateway.issuers.items():
        for index, key in enumerate((issuer.jwks.keys if issuer.jwks is not None else None) or ()):
            yield name, index, issuer, key


def _host(url: str) -> str:
    """Empty where it is not to be told."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


_LENIENT: Final[Mapping[Mode, str]] = {
    Mode.OFF: "nobody is asked for anything",
    Mode.SHADOW: "what it refuses is counted, and passes",
    Mode.OPTIONAL: "whoever shows no credential passes",
}


def not_enforced(gateway: Gateway) -> Iterator[Fault]:
    if gateway.mode in _LENIENT:
        yield Fault(("mode",), f"{gateway.mode}: {_LENIENT[gateway.mode]}")
    for name, route in gateway.routes.items():
        if route.mode is not None and route.mode in _LENIENT:
            yield Fault(("routes", name, "mode"), f"{route.mode}: {_LENIENT[route.mode]}")
