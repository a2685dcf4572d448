"""Components of the platform are asked for real: all of them, some, or none."""

import pytest

from apibank.platform_probes import agents_probe, database_probe, gateways_probe, store_probe
from apibank.probes import UnansweredError
from messaging.bus import BusAwayError, BusLimits
from messaging.memory import MemoryBus
from messaging.redis_streams import RedisBus
from portal.platform_api import PartlyError
from records.database import Database
from records.errors import LOST_DATABASE
from records.fact_versions import API_KEYS, FactVersions

GATEWAYS = frozenset({"central", "marketing"})
AGENTS = frozenset({"vision", "memory"})


@pytest.mark.requirement("R29")
async def test_gateways_are_those_that_have_reported_lately(database: Database) -> None:
    versions = FactVersions(database)
    probe = gateways_probe(versions, lambda: GATEWAYS)
    with pytest.raises(UnansweredError):
        await probe()
    await versions.report("one", "central", API_KEYS, 1)
    await versions.report("two", "unknown", API_KEYS, 1)
    with pytest.raises(PartlyError):
        await probe()
    await versions.report("three", "marketing", API_KEYS, 1)
    await probe()
    await versions.withdraw("one")
    with pytest.raises(PartlyError):
        await probe()


@pytest.mark.requirement("R29")
async def test_agents_are_those_whose_messages_somebody_takes() -> None:
    bus = MemoryBus(BusLimits())
    probe = agents_probe(bus, lambda: AGENTS)
    with pytest.raises(UnansweredError):
        await probe()
    await bus.receive("vision", "one")
    with pytest.raises(PartlyError):
        await probe()
    await bus.receive("memory", "one")
    await probe()


async def test_a_federation_without_agents_lacks_none() -> None:
    await agents_probe(MemoryBus(), frozenset)()


@pytest.mark.requirement("R29")
async def test_a_store_and_a_database_that_do_not_answer_are_down(tmp_path: object) -> None:
    away = RedisBus.from_url("redis://127.0.0.1:1", timeout=1.0)
    try:
        with pytest.raises(UnansweredError):
            await store_probe(away)()
        with pytest.raises(BusAwayError):
            await agents_probe(away, lambda: AGENTS)()
    finally:
        await away.close()
    await store_probe(None)()
    async with Database(f"sqlite:///{tmp_path}/none/records.db") as database:
        with pytest.raises(LOST_DATABASE):
            await database_probe(FactVersions(database))()
