"""Listeners and upstreams: credentials in the clear, promises to browsers, services without hosts."""

import ipaddress
from collections.abc import Iterator

from policy.edge import Listener
from policy.lint.finding import Fault
from policy.model import Gateway


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
    for name, listener in gateway.listeners.items():
        if listener.cors is None or not listener.cors.credentials:
            continue
        for index, origin in enumerate(listener.cors.origins):
            if origin.startswith("http://"):
                at = ("listeners", name, "cors", "origins", index)
                yield Fault(at, "whoever is on the way to a page without TLS can call with its users' cookies")


def no_hosts(gateway: Gateway) -> Iterator[Fault]:
    for name, upstream in gateway.upstreams.items():
        if not upstream.endpoints:
            yield Fault(("upstreams", name, "endpoints"), "an upstream without hosts answers 503")


def _is_loopback(listener: Listener) -> bool:
    return ipaddress.ip_address(listener.address.rpartition(":")[0].strip("[]")).is_loopback
