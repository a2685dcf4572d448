"""Whoever makes a change of a policy claims it, on every database that is supported."""

import asyncio
from dataclasses import replace

import pytest

from records.change_claims import ChangeClaims, Claim, ClaimedError
from records.database import Database
from records.policy_history import Change, Entry, PolicyHistory, Result
from tests.contract.records.conftest import NOW

ENTRY = Entry("marketing", "v1", "gateway: marketing\n", "ana", "", Change.APPLY, NOW, Result.RUNNING)


@pytest.fixture
def history(database: Database) -> PolicyHistory:
    return PolicyHistory(database)


@pytest.fixture
def claims(database: Database) -> ChangeClaims:
    return ChangeClaims(database)


async def result(history: PolicyHistory, revision: int) -> Result:
    found = await history.find(revision)
    assert found is not None
    return found.entry.result


async def test_of_two_processes_that_begin_at_once_one_is_refused_and_leaves_no_trace(history: PolicyHistory) -> None:
    begun = await asyncio.gather(*(history.begin(ENTRY, holder) for holder in ("one", "two")), return_exceptions=True)
    (revision,) = (each for each in begun if isinstance(each, int))
    (refused,) = (each for each in begun if isinstance(each, ClaimedError))
    assert refused.revision == revision
    assert len(await history.listing()) == 1


async def test_another_gateway_and_the_next_change_of_the_same_process_are_free(history: PolicyHistory) -> None:
    await history.begin(ENTRY, "one")
    await history.begin(replace(ENTRY, gateway="sales"), "two")
    assert await history.begin(ENTRY, "one")


async def test_what_is_claimed_is_not_abandoned_and_what_is_concluded_is_free(
    history: PolicyHistory, claims: ChangeClaims
) -> None:
    revision = await history.begin(ENTRY, "one")
    assert await history.abandon_running(["marketing"], "it ended") == []
    assert [one.revision for one in await claims.held()] == [revision]
    await history.conclude(revision, Result.LIVE)
    assert await claims.held() == []
    assert await history.begin(ENTRY, "two") > revision


async def test_a_claim_that_nobody_renews_lapses(
    history: PolicyHistory, claims: ChangeClaims, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = await history.begin(ENTRY, "one")
    claim = Claim("marketing", "one", revision)
    assert await claims.give_up_lapsed("two") == ()
    assert await claims.renew(claim)
    monkeypatch.setattr("records.change_claims.LAPSE_SECONDS", -60.0)
    assert await claims.held() == []
    assert await claims.give_up_lapsed("one") == ()
    assert await claims.give_up_lapsed("two") == [claim]
    assert await claims.give_up_lapsed("two") == ()
    assert not await claims.renew(claim)
    await history.abandon_running(["marketing"], "it ended")
    assert await result(history, revision) is Result.ABANDONED
