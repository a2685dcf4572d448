"""Consents on their way to decisions: confirmed, no longer confirmed, and followed only where ages are asked for."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from apibank.consent_facts import ConsentsOnBoard, FollowedOnDemand, ask_ages
from authz.facts import FactsBoard
from records.consents import ConsentMethod, ConsentRecord, ConsentRecords, ConsentsInForce
from records.fact_follower import FactFollower
from records.fact_versions import FRESH_SECONDS
from tests.unit.authz import world

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RECORD = ConsentRecord(
    consent_id="c_1",
    child="child_1",
    parent="parent_1",
    method=ConsentMethod.SIGNED_FORM,
    purposes=frozenset({"education"}),
    granted_at=NOW,
    granted_by="tests",
    expires_at=NOW + timedelta(days=1),
    revoked_at=None,
)


class _Records:
    """Stands for the table."""

    held = ConsentsInForce(7, {"child_1": [RECORD, replace(RECORD, consent_id="c_2")]})

    async def in_force(self, now: datetime) -> ConsentsInForce:
        return self.held


class _Follower:
    """Counts how often it looked."""

    def __init__(self) -> None:
        self.steps = 0
        self.runs = 0

    async def step(self) -> None:
        self.steps += 1

    async def run(self, stop: asyncio.Event) -> None:
        self.runs += 1
        await stop.wait()


async def test_consents_are_usable_only_while_they_are_confirmed() -> None:
    board, now = FactsBoard(), [1000.0]
    facts = ConsentsOnBoard(cast(ConsentRecords, _Records()), board, lambda: now[0])
    facts.confirm()
    assert await facts.reload() == 7
    # What was read counts only once it is confirmed.
    before = board.current
    assert before.consents is None
    facts.confirm()
    consents = board.current.consents
    assert consents is not None
    assert [one.consent_id for one in consents.by_child["child_1"]] == ["c_1", "c_2"]
    assert consents.by_child["child_1"][0].expires_at == (NOW + timedelta(days=1)).timestamp()
    assert consents.usable_until == 1000.0 + FRESH_SECONDS
    now[0] = 1010.0
    facts.confirm()
    assert board.current.consents is not None
    assert board.current.consents.usable_until == 1010.0 + FRESH_SECONDS


async def test_a_gateway_that_asks_nobodys_age_does_not_look() -> None:
    follower, needed, stop = _Follower(), [False], asyncio.Event()
    followed = FollowedOnDemand(cast(FactFollower, follower), lambda: needed[0])
    await followed.step()
    assert (follower.steps, follower.runs) == (0, 0)
    running = asyncio.create_task(followed.run(stop))
    await asyncio.sleep(0)
    assert follower.runs == 0
    stop.set()
    await running
    assert follower.runs == 0


async def test_a_gateway_that_asks_for_ages_follows() -> None:
    follower, stop = _Follower(), asyncio.Event()
    followed = FollowedOnDemand(cast(FactFollower, follower), lambda: True)
    await followed.step()
    running = asyncio.create_task(followed.run(stop))
    await asyncio.sleep(0)
    assert (follower.steps, follower.runs) == (1, 1)
    stop.set()
    await running


def test_a_policy_asks_for_ages_where_it_has_a_rule_for_them() -> None:
    plain = world.policy()
    assert not ask_ages([plain])
    assert ask_ages([plain, world.policy(rules={"age": {"type": "age"}})])


def test_the_shipped_education_gateway_is_one() -> None:
    text = (Path(__file__).resolve().parents[3] / "envoy" / "gateways" / "education.yaml").read_text(encoding="utf-8")
    assert "type: age" in text
