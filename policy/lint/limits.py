"""How often: routes without limits, and limits that refuse nobody."""

from collections.abc import Iterator

from policy.limits import StoreFailure
from policy.lint.access import answers_itself
from policy.lint.finding import Fault
from policy.model import Access, Gateway


def unlimited_public(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        if route.access is Access.PUBLIC and not answers_itself(route) and not gateway.limits_of(route):
            yield Fault(("routes", name), "anybody may call it as often as they like")


def unlimited_callers(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        asks = route.access is Access.CALLERS and not answers_itself(route)
        if asks and not gateway.limits_of(route) and route.local_limit is None:
            yield Fault(("routes", name), "a caller may call it as often as they like")


def only_shadows(gateway: Gateway) -> Iterator[Fault]:
    for name, route in gateway.routes.items():
        limits = [gateway.limits[limit] for limit in gateway.limits_of(route)]
        if limits and all(limit.shadow for limit in limits):
            yield Fault(("routes", name), "every limit of it only counts (shadow) and refuses nobody")


def fails_open(gateway: Gateway) -> Iterator[Fault]:
    used = {limit for route in gateway.routes.values() for limit in gateway.limits_of(route)}
    for name, limit in gateway.limits.items():
        if limit.on_store_failure is StoreFailure.OPEN and name in used:
            yield Fault(
                ("limits", name, "on_store_failure"), "while its counter cannot be reached there is no limit at all"
            )
