"""What of its limits a request shows to whoever counts it.

Envoy is told by the compiler how to make a descriptor of a shape, and a Check that answers for the limits makes it
itself (docs/adr/0027): both from here, so that one request has the same counters either way.
"""

from collections.abc import Mapping
from typing import NamedTuple

from policy import descriptors
from policy.edge import LimitsAnswered
from policy.limits import Per
from policy.model import Gateway, Route


class LimitShape(NamedTuple):
    """What of a limit its descriptor shows. The figures are the business of whoever counts."""

    name: str
    by_tier: bool
    per: Per

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the descriptor's entries behind the first, which is (LIMIT, name), in their order."""
        tier = (descriptors.TIER,) if self.by_tier else ()
        match self.per:
            case Per.CALLER:
                return (*tier, descriptors.CALLER)
            case Per.ADDRESS:
                return (*tier, descriptors.ADDRESS)
            case Per.GATEWAY:
                return tier

    def descriptor(self, values: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The entries for a request. `values`, by key: what is not there, or empty, stands as unknown."""
        named = ((key, values.get(key) or descriptors.UNKNOWN) for key in self.keys)
        return ((descriptors.LIMIT, self.name), *named)


def shapes_of(gateway: Gateway, names: tuple[str, ...]) -> tuple[LimitShape, ...]:
    limits = gateway.limits
    return tuple([LimitShape(name, limits[name].tiers is not None, limits[name].per) for name in names])


def asked_by_envoy(gateway: Gateway) -> bool:
    """Whether Envoy asks the rate-limit service."""
    return gateway.services.ratelimit.answered_by is LimitsAnswered.RATELIMIT


def answered_by_check(gateway: Gateway, route: Route) -> tuple[LimitShape, ...]:
    """The limits of a route that its Checks charge; none where Envoy asks the rate-limit service.

    What Envoy redirects or answers by itself is not counted, in neither way.
    """
    if asked_by_envoy(gateway) or route.redirect is not None or route.answered:
        return ()
    return shapes_of(gateway, gateway.limits_of(route))
