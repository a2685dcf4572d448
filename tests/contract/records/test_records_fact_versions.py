"""How a command knows that its change is in force on every gateway."""

import asyncio

import pytest
from sqlalchemy import text

from records.database import Database
from records.errors import NotAppliedError
from records.fact_follower import HEARTBEAT_SECONDS, FactFollower
from records.fact_versions import FRESH_SECONDS, GONE_SECONDS, FactVersions, bump


@pytest.fixture
def versions(database: Database) -> FactVersions:
    return FactVersions(database)


async def changed(database: Database, name: str = "keys") -> int:
    async with database.writing() as session:
        return await bump(database, session, name)


async def silent_for(database: Database, instance: str, seconds: float) -> None:
    async with database.writing() as session:
        await session.execute(
            text("UPDATE fact_applied SET seen_at = seen_at - :seconds WHERE instance = :instance"),
            {"seconds": seconds, "instance": instance},
        )


class Reading:
    """Facts that are nothing but the version that was read."""

    def __init__(self, versions: FactVersions) -> None:
        self._versions = versions
        self.loaded: list[int] = []
        self.confirmed = 0

    async def reload(self) -> int:
        self.loaded.append(await self._versions.current("keys"))
        return self.loaded[-1]

    def confirm(self) -> None:
        self.confirmed += 1


class Gateway:
    """One process: a follower with a clock of its own."""

    def __init__(self, versions: FactVersions, instance: str) -> None:
        self.facts = Reading(versions)
        self.now = 100.0
        self.failures: list[Exception] = []
        self.follower = FactFollower(
            versions,
            self.facts,
            instance=instance,
            gateway=instance.partition("-")[0],
            name="keys",
            clock=lambda: self.now,
            lost=self.failures.append,
        )


async def test_versions_grow_by_one_and_by_name(database: Database, versions: FactVersions) -> None:
    assert [await changed(database), await changed(database), await changed(database, "other")] == [1, 2, 1]
    assert await versions.current("keys") == 2
    assert await versions.current("never changed") == 0


async def test_versions_of_changes_at_once_are_all_different(database: Database) -> None:
    assert sorted(await asyncio.gather(*(changed(database) for _ in range(12)))) == list(range(1, 13))


async def test_a_change_that_is_rolled_back_has_no_version(database: Database, versions: FactVersions) -> None:
    async def change_and_fail() -> None:
        async with database.writing() as session:
            await bump(database, session, "keys")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await change_and_fail()
    assert await versions.current("keys") == 0


async def test_waiting_ends_when_every_gateway_runs_the_version(database: Database, versions: FactVersions) -> None:
    marketing, sales = Gateway(versions, "marketing-1"), Gateway(versions, "sales-1")
    await marketing.follower.step()
    await sales.follower.step()
    version = await changed(database)
    waiting = asyncio.create_task(versions.wait_applied("keys", version, timeout_seconds=20))
    await marketing.follower.step()
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    await sales.follower.step()
    applied = await waiting
    assert [(one.instance, one.gateway, one.version) for one in applied] == [
        ("marketing-1", "marketing", 1),
        ("sales-1", "sales", 1),
    ]


async def test_waiting_names_the_gateways_that_are_late(database: Database, versions: FactVersions) -> None:
    for instance in ("a-1", "b-1", "c-1"):
        await versions.report(instance, instance, "keys", 1 if instance == "b-1" else 0)
    with pytest.raises(NotAppliedError, match="a-1, c-1") as caught:
        await versions.wait_applied("keys", 1, timeout_seconds=0)
    assert caught.value.late == ("a-1", "c-1")


async def test_a_later_version_is_good_enough(versions: FactVersions) -> None:
    await versions.report("a-1", "a", "keys", 7)
    assert [one.version for one in await versions.wait_applied("keys", 3, timeout_seconds=0)] == [7]


async def test_nobody_waits_for_a_gateway_that_is_gone(database: Database, versions: FactVersions) -> None:
    await versions.report("silent", "a", "keys", 0)
    await versions.report("stopped", "a", "keys", 0)
    await versions.report("running", "a", "keys", 1)
    await silent_for(database, "silent", GONE_SECONDS + 1)
    await versions.withdraw("stopped")
    assert [one.instance for one in await versions.wait_applied("keys", 1, timeout_seconds=0)] == ["running"]


async def test_a_gateway_that_was_heard_of_lately_is_waited_for(database: Database, versions: FactVersions) -> None:
    await versions.report("slow", "a", "keys", 0)
    await silent_for(database, "slow", GONE_SECONDS - 5)
    with pytest.raises(NotAppliedError):
        await versions.wait_applied("keys", 1, timeout_seconds=0)


async def test_where_no_gateway_runs_there_is_nothing_to_wait_for(versions: FactVersions) -> None:
    assert await versions.wait_applied("keys", 1, timeout_seconds=0) == []


async def test_facts_are_reloaded_only_when_they_changed(database: Database, versions: FactVersions) -> None:
    gateway = Gateway(versions, "a-1")
    for _ in range(3):
        await gateway.follower.step()
    await changed(database)
    await changed(database)
    for _ in range(3):
        await gateway.follower.step()
    assert gateway.facts.loaded == [0, 2]
    assert gateway.facts.confirmed == 6


async def test_a_sign_of_life_is_written_every_two_seconds(database: Database, versions: FactVersions) -> None:
    gateway = Gateway(versions, "a-1")
    await gateway.follower.step()
    await silent_for(database, "a-1", GONE_SECONDS + 1)
    gateway.now += HEARTBEAT_SECONDS - 0.1
    await gateway.follower.step()
    assert await versions.applied("keys") == []
    gateway.now += 0.2
    await gateway.follower.step()
    assert [one.instance for one in await versions.applied("keys")] == ["a-1"]


async def test_a_version_is_reported_only_once_it_is_in_use(database: Database, versions: FactVersions) -> None:
    gateway = Gateway(versions, "a-1")
    await gateway.follower.step()

    async def failing() -> int:
        raise ConnectionResetError

    gateway.facts.reload = failing  # type: ignore[method-assign]
    await changed(database)
    gateway.now += HEARTBEAT_SECONDS
    with pytest.raises(ConnectionResetError):
        await gateway.follower.step()
    assert [one.version for one in await versions.applied("keys")] == [0]
    assert gateway.facts.confirmed == 1


async def test_a_starting_gateway_is_waited_for_before_it_has_read_anything(
    database: Database, versions: FactVersions
) -> None:
    gateway = Gateway(versions, "a-1")
    seen: list[int] = []

    async def reading_while_others_change() -> int:
        seen.extend(one.version for one in await versions.applied("keys"))
        return 0

    gateway.facts.reload = reading_while_others_change  # type: ignore[method-assign]
    await gateway.follower.step()
    assert seen == [-1]


async def test_a_gateway_that_was_stopped_in_mid_look_confirms_only_after_another_look(
    database: Database, versions: FactVersions
) -> None:
    gateway = Gateway(versions, "a-1")
    await gateway.follower.step()
    read = gateway.facts.reload

    async def stopped_while_reading() -> int:
        version = await read()
        gateway.now += GONE_SECONDS
        return version

    gateway.facts.reload = stopped_while_reading  # type: ignore[method-assign]
    version = await changed(database)
    await gateway.follower.step()
    # What it read may be old by now, and others have stopped to wait for it.
    assert gateway.facts.confirmed == 1
    assert [one.version for one in await versions.applied("keys")] == [0]
    await gateway.follower.step()
    assert gateway.facts.confirmed == 2
    assert [one.version for one in await versions.applied("keys")] == [version]


async def test_a_gateway_that_cannot_write_its_report_confirms_nothing(
    database: Database, versions: FactVersions
) -> None:
    gateway = Gateway(versions, "a-1")
    await gateway.follower.step()
    async with database.writing() as session:
        await session.execute(text("DROP TABLE fact_applied"))
    gateway.now += HEARTBEAT_SECONDS
    for _ in range(3):
        with pytest.raises(Exception, match="fact_applied"):
            await gateway.follower.step()
        gateway.now += 0.5
    assert gateway.facts.confirmed == 1


def test_facts_are_never_used_longer_than_others_wait() -> None:
    # The last confirmation comes at most so long after the last sign of life (fact_follower._CONFIRM_WITHIN).
    assert HEARTBEAT_SECONDS < GONE_SECONDS - FRESH_SECONDS


async def test_a_gateway_that_stops_is_waited_for_no_more(database: Database, versions: FactVersions) -> None:
    gateway = Gateway(versions, "a-1")
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.follower.run(stop))
    version = await changed(database)
    while [one.version for one in await versions.applied("keys")] != [version]:
        await asyncio.sleep(0.01)
    stop.set()
    await running
    assert await versions.applied("keys") == []
    assert gateway.failures == []


async def test_a_lost_database_is_told_and_does_not_end_the_following(
    database: Database, versions: FactVersions
) -> None:
    gateway = Gateway(versions, "a-1")
    stop = asyncio.Event()
    async with database.writing() as session:
        await session.execute(text("ALTER TABLE fact_versions RENAME TO elsewhere"))
    running = asyncio.create_task(gateway.follower.run(stop))
    while not gateway.failures:
        await asyncio.sleep(0.01)
    async with database.writing() as session:
        await session.execute(text("ALTER TABLE elsewhere RENAME TO fact_versions"))
    while not await versions.applied("keys"):
        await asyncio.sleep(0.01)
    stop.set()
    await running


async def test_facts_that_cannot_be_read_are_told_not_confirmed_and_do_not_end_the_following(
    versions: FactVersions, database: Database
) -> None:
    gateway = Gateway(versions, "a-1")

    async def unreadable() -> int:
        raise ValueError("written by a later version")

    gateway.facts.reload, read = unreadable, gateway.facts.reload  # type: ignore[method-assign]
    stop = asyncio.Event()
    running = asyncio.create_task(gateway.follower.run(stop))
    while not gateway.failures:
        await asyncio.sleep(0.01)
    assert gateway.facts.confirmed == 0
    gateway.facts.reload = read  # type: ignore[method-assign]
    while not gateway.facts.confirmed:
        await asyncio.sleep(0.01)
    stop.set()
    await running
