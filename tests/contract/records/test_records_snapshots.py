"""The last good configuration, and endpoints set while running, on every database that is supported."""

from dataclasses import replace

from records.database import Database
from records.endpoint_overrides import EndpointOverride, EndpointOverrides
from records.snapshots import Snapshots, StoredSnapshot
from tests.contract.records.conftest import NOW

SNAPSHOT = StoredSnapshot("marketing", "v1", bytes(range(256)), NOW)
OVERRIDE = EndpointOverride("marketing", "crm", ("127.0.0.1:1", "[::1]:2"), ("127.0.0.1:9",), "ana", NOW)


async def test_the_newest_good_snapshot_takes_the_place_of_the_one_before(database: Database) -> None:
    snapshots = Snapshots(database)
    await snapshots.save(replace(SNAPSHOT, version="v0"))
    await snapshots.save(SNAPSHOT)
    await snapshots.save(replace(SNAPSHOT, group="central"))
    assert await snapshots.find("marketing") == SNAPSHOT
    assert [one.group for one in await snapshots.all()] == ["central", "marketing"]


async def test_a_forgotten_snapshot_is_not_there(database: Database) -> None:
    snapshots = Snapshots(database)
    await snapshots.save(SNAPSHOT)
    await snapshots.forget("marketing")
    assert await snapshots.find("marketing") is None


async def test_an_override_stands_until_it_is_replaced_or_removed(database: Database) -> None:
    overrides = EndpointOverrides(database)
    await overrides.save(replace(OVERRIDE, endpoints=()))
    await overrides.save(OVERRIDE)
    assert await overrides.all() == [OVERRIDE]
    await overrides.remove("marketing", "crm")
    assert await overrides.all() == []
