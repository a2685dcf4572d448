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

# Where clouds tell a machine its credentials, to whoever asks from there; but for link-local addresses, which all do.
_METADATA_NAMES: Final = frozenset(
    {"instance-data", "instance-data.ec2.internal", "metadata", "metadata.goog", "metadata.google.internal"}
)
_METADATA_ADDRESSES: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254"),
    )
)
# An IPv6 address that stands for an IPv4 one (RFC 6052 §2.1).
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
# "This network" (RFC 1122 §3.2.1.3): Linux takes 0.0.0.0 for the machine itself.
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")


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


def no_service(gateway: Gateway) -> Iterator[Fault]:
    named: list[tuple[FieldPath, str]] = [
        (("services", "authz", "endpoint"), gateway.services.authz.endpoint),
        (("services", "ratelimit", "endpoint"), gateway.services.ratelimit.endpoint),
    ]
    if gateway.services.telemetry is not None:
        named.append((("services", "telemetry", "endpoint"), gateway.services.telemetry.endpoint))
    for name, upstream in gateway.upstreams.items():
        named += [(("upstreams", name, "endpoints", index), one) for index, one in enumerate(upstream.endpoints)]
    for at, endpoint in named:
        if what := what_is_there(endpoint):
            yield Fault(at, f"{endpoint}: {what}")


def what_is_there(endpoint: str) -> str:
    """What is at an endpoint that is no service's; empty for all others."""
    told = "clients would reach what tells this machine's credentials"
    if endpoint.startswith("unix:"):
        return ""
    host = endpoint.rpartition(":")[0].strip("[]").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return told if host in _METADATA_NAMES else ""
    if isinstance(address, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else None
        address = address.ipv4_mapped or translated or address
    if address.is_link_local or address in _METADATA_ADDRESSES:
        return told
    if address.is_unspecified or address in _THIS_NETWORK or address.is_multicast or int(address) == 0xFFFFFFFF:
        return "no host has this address"
    return ""


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
