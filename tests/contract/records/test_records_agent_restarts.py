"""Restarts of agents: in the audit from the beginning to the end, whatever happens in between (on real tables)."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from messaging.bus import BusAwayError, BusLimits, Message, Receipt
from messaging.memory import MemoryBus
from portal.agent_commands import control_queue, restarted
from portal.agent_restarts import AgentRestarts
from portal.platform_caller import Caller
from portal.problems import Refused
from records.audit_entry import AuditEntry
from records.audit_log import AuditLog, AuditQuery
from records.audit_verify import Anchors, AuditVerification, Finding
from records.database import Database
from tests.contract.records.conftest import NOW

QUEUE = "platform.host"
CALLER = Caller("ann", "admin", "10.0.0.7", "curl/8", "r-1")


class Away(MemoryBus):
    async def publish(self, message: Message) -> Receipt:
        raise BusAwayError("gone")


class Failing(AuditLog):
    """The database goes away after so many batches, and comes back when it is told."""

    def __init__(self, database: Database, good: int) -> None:
        super().__init__(database)
        self.good = good

    async def write(self, entries: Sequence[AuditEntry]):  # type: ignore[no-untyped-def]
        if self.good == 0:
            raise TimeoutError
        self.good -= 1
        return await super().write(entries)


def restarts(bus: MemoryBus, audit: AuditLog, *, wait: float = 5.0, later: float = 0.0) -> AgentRestarts:
    now = NOW.timestamp() + later
    return AgentRestarts(bus, audit, QUEUE, lambda: {"vision"}, lambda name: f"p-{name}", wait=wait, now=lambda: now)


async def agent(bus: MemoryBus, *, speaks_as: str = "vision") -> None:
    """Obeys one order."""
    while not (found := await bus.receive(control_queue("vision"), "one", 1, 1.0)):
        pass
    await bus.publish(restarted(speaks_as, found[0].message))
    await bus.acknowledge(found[0])


async def rows(database: Database) -> list[tuple[str, int | None, str]]:
    found = await AuditLog(database).find(AuditQuery())
    return [(one.entry.outcome, one.entry.status, one.entry.reason) for one in reversed(found)]


async def tried(one: AgentRestarts, *others: asyncio.Task[None], name: str = "vision") -> None:
    stop = asyncio.Event()
    listening = asyncio.create_task(one.follow(stop))
    try:
        await one.restart(name, CALLER)
    finally:
        stop.set()
        await asyncio.gather(listening, *others)


@pytest.mark.requirement("R31", "R36")
async def test_a_restart_is_initiated_and_then_a_success_when_the_agent_has_said_so(database: Database) -> None:
    bus = MemoryBus()
    await tried(restarts(bus, AuditLog(database)), asyncio.create_task(agent(bus)))
    assert await rows(database) == [("initiated", None, ""), ("success", 200, "")]
    first, second = (one.entry for one in await AuditLog(database).find(AuditQuery(request_id="r-1")))
    for entry in (first, second):
        assert entry.endpoint == "/api/platform/admin/restart-agent?agent_id=vision"
        assert (entry.gateway, entry.method, entry.principal, entry.role) == ("platform", "POST", "sub:p-ann", "admin")
        assert (entry.ip, entry.user_agent) == ("10.0.0.7", "curl/8")
    # It is a link of the gateway's own chain.
    verified = [one async for one in AuditVerification(database).verify("platform", Anchors())]
    assert not [one for one in verified if isinstance(one, Finding)]


@pytest.mark.requirement("R31")
@pytest.mark.parametrize("bus", [MemoryBus(), Away(), MemoryBus(BusLimits(capacity=0))], ids=["silent", "away", "full"])
async def test_a_restart_that_fails_is_a_failure_and_who_asked_is_told_why(bus: MemoryBus, database: Database) -> None:
    code, status = {Away: ("bus_away", 503)}.get(type(bus), ("agent_silent", 504))  # type: ignore[call-overload]
    if bus._limits.capacity == 0:
        code, status = "queue_full", 503
    with pytest.raises(Refused) as refused:
        await restarts(bus, AuditLog(database), wait=0.05).restart("vision", CALLER)
    assert (refused.value.code, refused.value.status) == (code, status)
    assert await rows(database) == [("initiated", None, ""), ("failure", status, code)]


async def test_what_another_agent_says_is_no_answer(database: Database) -> None:
    bus = MemoryBus()
    with pytest.raises(Refused, match="not answered"):
        await tried(restarts(bus, AuditLog(database), wait=0.3), asyncio.create_task(agent(bus, speaks_as="memory")))
    assert [outcome for outcome, _, _ in await rows(database)] == ["initiated", "failure"]


async def test_an_agent_that_there_is_not_leaves_nothing(database: Database) -> None:
    with pytest.raises(Refused, match="no such agent"):
        await restarts(MemoryBus(), AuditLog(database)).restart("nobody", CALLER)
    assert await rows(database) == []


@pytest.mark.requirement("R36")
async def test_without_the_audit_nothing_is_ordered(database: Database) -> None:
    bus = MemoryBus()
    with pytest.raises(Refused) as refused:
        await restarts(bus, Failing(database, 0)).restart("vision", CALLER)
    assert refused.value.code == "audit_unavailable"
    assert (await bus.depth(control_queue("vision"))).waiting == 0


async def test_an_end_that_the_database_did_not_take_is_written_when_it_is_back(database: Database) -> None:
    bus, audit = MemoryBus(), Failing(database, 1)
    one, obeying = restarts(bus, audit), asyncio.create_task(agent(bus))
    stop = asyncio.Event()
    listening = asyncio.create_task(one._listen(stop))
    await one.restart("vision", CALLER)
    assert await rows(database) == [("initiated", None, "")]
    audit.good = 1
    assert await one.settle() == 1
    stop.set()
    await asyncio.gather(listening, obeying)
    assert await rows(database) == [("initiated", None, ""), ("success", 200, "")]
    assert await one.settle() == 0


@pytest.mark.requirement("R31", "R36")
async def test_what_a_process_that_died_has_left_open_is_closed_by_the_next_once_and_only_when_it_is_late(
    database: Database,
) -> None:
    log = AuditLog(database)
    dead = restarts(MemoryBus(), log)
    await log.write([dead._begun("vision", "0" * 32, CALLER)])
    # Another process may still wait for the agent.
    assert await restarts(MemoryBus(), log, later=30).settle() == 0
    late = [restarts(MemoryBus(), log, later=60) for _ in range(2)]
    assert await late[0].settle() == 1
    assert await late[1].settle() == 0
    assert await rows(database) == [("initiated", None, ""), ("failure", None, "restart_interrupted")]
    # Whoever comes too late with the truth does not make two ends of one restart.
    await late[1]._conclude(dead._begun("vision", "0" * 32, CALLER), None)
    assert len(await rows(database)) == 2


async def test_a_process_looks_far_back_once_and_then_only_at_what_it_may_have_missed(database: Database) -> None:
    log = AuditLog(database)
    one = restarts(MemoryBus(), log, later=3600)
    assert await one.settle() == 0
    await log.write([restarts(MemoryBus(), log)._begun("vision", "2" * 32, CALLER)])
    assert await one.settle() == 0
    assert await restarts(MemoryBus(), log, later=3600).settle() == 1


async def test_rows_of_others_are_left_as_they_are(database: Database) -> None:
    log = AuditLog(database)
    entry = restarts(MemoryBus(), log)._begun("vision", "1" * 32, CALLER)
    old = entry.timestamp - timedelta(hours=1)
    await log.write([replace(entry, event_id="gateways-own", timestamp=old)])
    assert await restarts(MemoryBus(), log).settle() == 0


async def test_who_goes_away_while_an_agent_restarts_leaves_an_end(database: Database) -> None:
    asking = asyncio.create_task(restarts(MemoryBus(), AuditLog(database)).restart("vision", CALLER))
    while not await rows(database):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await rows(database) == [("initiated", None, ""), ("failure", 500, "restart_interrupted")]
