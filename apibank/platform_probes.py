"""How the platform asks each component whether it does its work (R29)."""

from collections.abc import Callable

from apibank.probes import UnansweredError, required
from messaging.bus import Bus
from portal.agent_state import active
from portal.platform_api import PartlyError, Probe
from records.fact_versions import API_KEYS, FactVersions

Names = Callable[[], frozenset[str]]


def database_probe(versions: FactVersions) -> Probe:
    """Whether it answers what every gateway asks it twice a second."""

    async def ask() -> None:
        await versions.current(API_KEYS)

    return ask


def store_probe(store: Bus | None) -> Probe:
    """Whether the store of counters answers. None: in the gateways' own memory there is nothing that could be down."""
    if store is None:

        async def nothing_to_ask() -> None:
            return

        return nothing_to_ask
    return required(store.ready)


def gateways_probe(versions: FactVersions, names: Names) -> Probe:
    """Whether each gateway's services have been heard of lately, in the database that they all report to."""

    async def ask() -> None:
        heard = {one.gateway for one in await versions.applied(API_KEYS)}
        _judge(names(), names() & heard)

    return ask


def agents_probe(bus: Bus, names: Names) -> Probe:
    """Whether somebody takes each agent's messages."""

    async def ask() -> None:
        _judge(names(), await active(bus, names()))

    return ask


def _judge(wanted: frozenset[str], there: frozenset[str]) -> None:
    if wanted - there:
        raise PartlyError if there else UnansweredError
