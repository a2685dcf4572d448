"""Changes of policies, on every database that is supported."""

import asyncio
from dataclasses import replace

import pytest

from records.database import Database
from records.policy_history import Change, Entry, PolicyHistory, Result
from tests.contract.records.conftest import NOW

ENTRY = Entry("marketing", "v1", "gateway: marketing\n", "ana", "because", Change.FILE, NOW, Result.LIVE)


@pytest.fixture
def history(database: Database) -> PolicyHistory:
    return PolicyHistory(database)


async def test_what_is_recorded_is_found_again_unchanged(history: PolicyHistory) -> None:
    entry = replace(ENTRY, source=Change.APPLY, result=Result.RUNNING, detail="ünd", canary_percent=10)
    revision = await history.add(entry)
    found = await history.find(revision)
    assert found is not None
    assert (found.revision, found.entry) == (revision, entry)
    assert await history.find(revision + 1) is None


async def test_revisions_count_up_over_all_gateways_and_the_newest_come_first(history: PolicyHistory) -> None:
    first = await history.add(ENTRY)
    second = await history.add(replace(ENTRY, gateway="sales"))
    assert second > first
    assert [one.revision for one in await history.listing()] == [second, first]
    assert [one.revision for one in await history.listing("marketing")] == [first]
    assert [one.revision for one in await history.listing(limit=1)] == [second]


async def test_replicas_that_see_the_same_file_record_it_once(history: PolicyHistory) -> None:
    first, second = await asyncio.gather(history.add_live(ENTRY), history.add_live(ENTRY))
    assert first == second
    assert await history.add_live(replace(ENTRY, version="v2")) > first
    # A version that comes back is a change.
    assert await history.add_live(ENTRY) > first
    assert len(await history.listing()) == 3


async def test_a_change_is_concluded_once_it_is_known_what_became_of_it(history: PolicyHistory) -> None:
    revision = await history.add(replace(ENTRY, result=Result.RUNNING))
    await history.conclude(revision, Result.HALTED, "errors rose")
    found = await history.find(revision)
    assert found is not None
    assert (found.entry.result, found.entry.detail) == (Result.HALTED, "errors rose")


async def test_what_was_running_when_the_process_ended_is_abandoned(history: PolicyHistory) -> None:
    running = await history.add(replace(ENTRY, result=Result.RUNNING))
    elsewhere = await history.add(replace(ENTRY, gateway="sales", result=Result.RUNNING))
    done = await history.add(ENTRY)
    assert [one.revision for one in await history.abandon_running(["marketing"], "it ended")] == [running]
    results = {one.revision: one.entry.result for one in await history.listing()}
    assert results == {running: Result.ABANDONED, elsewhere: Result.RUNNING, done: Result.LIVE}


async def test_a_version_is_found_by_its_beginning_each_gateway_once(history: PolicyHistory) -> None:
    await history.add(replace(ENTRY, version="abc1"))
    newer = await history.add(replace(ENTRY, version="abc1"))
    other = await history.add(replace(ENTRY, version="abd2", gateway="sales"))
    assert [one.revision for one in await history.of_version("abc")] == [newer]
    assert [one.revision for one in await history.of_version("ab")] == [other, newer]
    assert [one.revision for one in await history.of_version("ab", "sales")] == [other]
    assert await history.of_version("a%") == []


async def test_before_the_live_version_was_the_newest_other_one_that_was_live(history: PolicyHistory) -> None:
    first = await history.add(ENTRY)
    await history.add(replace(ENTRY, version="v2", result=Result.HALTED))
    await history.add(replace(ENTRY, version="v3"))
    before = await history.live_before("marketing", "v3")
    assert before is not None
    assert before.revision == first
    assert await history.live_before("sales", "v3") is None


async def test_the_newest_live_change_of_some_gateways_is_found(history: PolicyHistory) -> None:
    await history.add(ENTRY)
    partly = await history.add(replace(ENTRY, version="v2", result=Result.ROLLED_BACK))
    await history.add(replace(ENTRY, version="v3", result=Result.HALTED))
    await history.add(replace(ENTRY, gateway="sales"))
    newest = await history.newest_live(["marketing", "central"])
    assert newest is not None
    assert newest.revision == partly
    assert await history.newest_live([]) is None


async def test_a_file_that_another_replica_applies_is_recorded_once(history: PolicyHistory) -> None:
    await history.add(replace(ENTRY, version="v1"))
    applied = await history.add(replace(ENTRY, version="v2", source=Change.APPLY, result=Result.RUNNING))
    assert await history.add_live(replace(ENTRY, version="v2", source=Change.FILE)) == applied
    assert len(await history.listing()) == 2
