"""Listeners and upstreams: credentials in the clear, promises to browsers, services without hosts."""

import ipaddress
from collections.abc import Iterator
from typing import Final

from policy.edge import Cors, Listener
from policy.lint.finding import Fault
from policy.model import Gateway
from policy.problem import FieldPath

# Reserved for one's own networks (RFC 6762, RFC 8375, ICANN's .internal), or a cluster's. Public names end otherwise.
_NEAR_NAMES: Final = (".internal", ".local", ".localhost", ".home.arpa", ".svc")


def in_the_clear(gateway: Gateway) -> Iterator[Fault]:
    for name, listener in gateway.listeners.items():
        serves = listener.redirect_to_https_port is None and listener.tls is None
        if serves and not _is_loopback(listener):
            yield Fault(("listeners", name), "tokens, keys and data cross the network without TLS")


def no_hsts(gateway: Gateway) -> Iterator[Fault]:
    for name, listener in gateway.listeners.items():
        if listener.cors is not None and listener.tls is not None and not listener.tls.hsts_seconds:
            yield Fault(("listeners", name, "tls"), "browsers call it, and are not told to insist on https")


def cors_in_the_clear(gateway: Gateway) -> Iterator[Fault]:
    written: list[tuple[FieldPath, Cors | None]] = [
        *((("listeners", name), one.cors) for name, one in gateway.listeners.items()),
        *((("routes", name), one.cors) for name, one in gateway.routes.items()),
    ]
    for at, cors in written:
        if cors is None or not cors.credentials:
            continue
        for index, origin in enumerate(cors.origins):
            if origin.startswith("http://"):
                what = "whoever is on the way to a page without TLS can call with its users' cookies"
                yield Fault((*at, "cors", "origins", index), what)


def no_hosts(gateway: Gateway) -> Iterator[Fault]:
    for name, upstream in gateway.upstreams.items():
        if not upstream.endpoints:
            yield Fault(("upstreams", name, "endpoints"), "an upstream without hosts answers 503")


def plain_text_abroad(gateway: Gateway) -> Iterator[Fault]:
    for name, upstream in gateway.upstreams.items():
        for index, endpoint in enumerate(upstream.endpoints):
            if upstream.tls is None and not _is_near(endpoint):
                what = f"{endpoint} may be beyond this network, and nothing between is encrypted"
                yield Fault(("upstreams", name, "endpoints", index), what)


def _is_near(endpoint: str) -> bool:
    """On this machine or in its network: private addresses, and names that only a network of one's own knows."""
    host = endpoint.rpartition(":")[0].strip("[]")
    if endpoint.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.lower().endswith(_NEAR_NAMES)


def _is_loopback(listener: Listener) -> bool:
    return ipaddress.ip_address(listener.address.rpartition(":")[0].strip("[]")).is_loopback
