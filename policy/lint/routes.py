"""Routes that do nothing, do too much, or were left in a state that was meant for a while."""

import ipaddress
from collections.abc import Iterator, Sequence

from policy.lint.finding import Fault
from policy.model import Gateway
from policy.route import Route

_LONG_MS = 300_000


def unreachable(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        at = ("routes", name)
        if not gateway.listeners_of(route):
            yield Fault((*at, "listeners"), "no listener serves it")
        elif not gateway.methods_of(route):
            yield Fault((*at, "methods"), "it admits no method")
        elif route.tiers is not None and not route.tiers:
            yield Fault((*at, "tiers"), "it admits no tier")
        elif _no_address(gateway, route):
            yield Fault((*at, "networks"), "no address is both in its allow-lists and in those of its listeners")


def unchecked_upgrade(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.upgrades and route.body:
            yield Fault(("routes", name, "upgrades"), "after an upgrade no schema looks at what is sent")


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
