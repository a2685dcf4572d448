"""What a file says for nothing: definitions that nothing uses, and networks that others of their list hold."""

import ipaddress
from collections.abc import Iterator, Mapping

from policy.lint.finding import Fault
from policy.model import Gateway


def unused(gateway: Gateway) -> Iterator[Fault]:
    for section, (defined, used) in _sections(gateway).items():
        for name in defined:
            if name not in used:
                yield Fault((section, name), "nothing in this file uses it")


def overlapping(gateway: Gateway) -> Iterator[Fault]:
    for name, networks in gateway.networks.items():
        # Two networks overlap only where one holds the other; sorted, what holds stands before what it holds.
        parsed = [(ipaddress.ip_network(network), index) for index, network in enumerate(networks)]
        wider: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None
        for one, index in sorted(parsed, key=_in_order):
            if wider is not None and wider.version == one.version and wider.overlaps(one):
                yield Fault(("networks", name, index), f"{one} lies within {wider}, which is listed too")
            else:
                wider = one


def _in_order(listed: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, int]) -> tuple[int, int, int, int]:
    network, index = listed
    return network.version, int(network.network_address), network.prefixlen, index


def _sections(gateway: Gateway) -> Mapping[str, tuple[Mapping[str, object], set[str]]]:
    routes, listeners = gateway.routes.values(), gateway.listeners.values()
    tls = [one.tls for one in listeners if one.tls is not None]
    upstream_tls = [one.tls for one in gateway.upstreams.values() if one.tls is not None]
    return {
        "schemas": (gateway.schemas, {schema for route in routes for schema in route.body.values()}),
        "limits": (gateway.limits, {name for route in routes for name in gateway.limits_of(route)}),
        "rules": (gateway.rules, {name for route in routes for name in gateway.rules_of(route)}),
        "networks": (
            gateway.networks,
            {name for route in routes for name in gateway.networks_of(route)}
            | {name for one in listeners for name in one.networks},
        ),
        "upstreams": (
            gateway.upstreams,
            {name for route in routes for name in route.upstreams} | {one.acme_challenge or "" for one in listeners},
        ),
        "certificates": (
            gateway.certificates,
            {one.certificate for one in tls} | {one.certificate or "" for one in upstream_tls},
        ),
        "authorities": (
            gateway.authorities,
            {one.client_authority or "" for one in tls} | {one.authority for one in upstream_tls},
        ),
    }
