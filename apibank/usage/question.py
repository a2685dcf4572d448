"""From a question about a caller to the counters that it has: the descriptors that Envoy would send of it.

Pure: no I/O, no clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from authz.addresses import counted, read_address
from policy.descriptors import (
    ADDRESS,
    CALLER,
    CALLER_ADDRESS,
    CALLER_AGENT,
    CALLER_PARTNER,
    CALLER_SUBJECT,
    CALLER_TENANT,
    TIER,
)
from policy.kinds import Tier
from policy.limit_shapes import LimitShape, shapes_of
from policy.limits import Limit, Per
from policy.model import Gateway
from policy.modes import Mode
from portal.limits_api import UsageQuestion

Entries = tuple[tuple[str, str], ...]

_PREFIXES: Final[Mapping[str, str]] = {
    "subject": CALLER_SUBJECT,
    "tenant": CALLER_TENANT,
    "partner": CALLER_PARTNER,
    "agent": CALLER_AGENT,
}


@dataclass(frozen=True, slots=True)
class Who:
    """Whose counters are asked for, as descriptors name them; empty: nobody's, which leaves what all share.

    `caller` of an address is whoever calls from there unknown, where a route's mode lets such callers pass.
    """

    kind: str = ""
    caller: str = ""
    address: str = ""


class Counter(NamedTuple):
    """One counter: under which limit, of which tier, and the descriptor that leads to it."""

    name: str
    limit: Limit
    tier: Tier | None
    entries: Entries


def whose(question: UsageQuestion) -> Who:
    """Whom a question names. Raises ValueError where an address is none."""
    for kind, prefix in _PREFIXES.items():
        value = getattr(question, kind)
        if value is not None:
            return Who(kind, prefix + value)
    if question.address is None:
        return Who()
    address = counted(read_address(question.address))
    if not address:
        raise ValueError(f"{question.address!r} is no IP address")
    return Who("address", CALLER_ADDRESS + address, address)


def counters(gateway: Gateway, who: Who, limit: str | None = None, tier: Tier | None = None) -> Sequence[Counter]:
    """Those that a caller has at a gateway, in the order of its file, and those that it shares with everybody.

    Of a limit with figures per tier there is one for each tier, unless the question is about one.
    """
    wanted = [name for name in gateway.limits if name == limit or (limit is None and _is_met(gateway, name, who))]
    shapes = shapes_of(gateway, tuple(wanted))
    return [one for shape in shapes for one in _counters(shape, gateway.limits[shape.name], who, tier)]


def _is_met(gateway: Gateway, name: str, who: Who) -> bool:
    """Whether such a caller can be charged under a limit; an address under those of callers only if it may pass."""
    if who.kind != "address" or gateway.limits[name].per is not Per.CALLER:
        return True
    return any(gateway.mode_of(route) is not Mode.ENFORCE for route in gateway.routes.values())


def _counters(shape: LimitShape, limit: Limit, who: Who, tier: Tier | None) -> Iterator[Counter]:
    if not concerns(limit, who):
        return
    tiers: Sequence[Tier | None] = (None,)
    if limit.tiers is not None:
        tiers = tuple(limit.tiers) if tier is None else (tier,)
    for each in tiers:
        values = {CALLER: who.caller, ADDRESS: who.address, TIER: each or ""}
        yield Counter(shape.name, limit, each, shape.descriptor(values))


def concerns(limit: Limit, who: Who) -> bool:
    """Whether a limit has a counter for whom the question names."""
    match limit.per:
        case Per.GATEWAY:
            return True
        case Per.ADDRESS:
            return who.address != ""
        case Per.CALLER:
            return who.caller != ""


def admits(gateway: Gateway, who: Who) -> bool:
    """Whether any route of a gateway takes callers of this kind: others have no counters there worth showing."""
    callers = [gateway.callers, *(route.callers for route in gateway.routes.values() if route.callers is not None)]
    match who.kind:
        case "subject" | "tenant":
            return any(one.tokens for one in callers)
        case "partner":
            return any(one.partners for one in callers)
        case "agent":
            return any(one.agents for one in callers)
        case _:
            return True
