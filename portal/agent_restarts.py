"""Restarts of agents: ordered over the bus, awaited, and in the audit from the beginning to what came of it (R31).

The audit says `initiated` before anything is sent, and `success` or `failure` afterwards: always, as what a process
that died has left open is closed by the next one. Which row closes which order is told by their names.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable, Container, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

import structlog

from messaging.bus import Bus, BusAwayError, BusError, Delivery, QueueFullError
from portal import agent_commands
from portal.audited import INITIATED, AuditWriter, write_first
from portal.platform_caller import Caller
from portal.problems import Refused
from records.audit_entry import AuditEntry, StoredEntry
from records.audit_log import AuditQuery
from records.errors import LOST_DATABASE

_LOG: Final = structlog.get_logger(__name__)
_GATEWAY: Final = "platform"
_ROUTE: Final = "admin"
ENDPOINT: Final = "/api/platform/admin/restart-agent"
SUCCESS: Final = "success"
FAILURE: Final = "failure"
INTERRUPTED: Final = "restart_interrupted"
# A process that begins looks so far back for what was left open, and one that runs as far as it may have missed.
_FIRST_LOOK: Final = timedelta(days=7)
_LOOK: Final = timedelta(minutes=10)
# Beyond the wait, another process's order counts as left.
_MARGIN_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 15.0
_PAUSE: Final = 0.5


class Audit(AuditWriter, Protocol):
    """The audit, read too."""

    def scan(self, query: AuditQuery, after: int = 0) -> AsyncIterator[StoredEntry]: ...


class AgentRestarts:
    """Orders restarts and waits for what agents say, up to `wait` seconds each."""

    def __init__(
        self,
        bus: Bus,
        audit: Audit,
        queue: str,
        agents: Callable[[], Container[str]],
        pseudonym: Callable[[str], str],
        *,
        wait: float = 8.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`queue`: `platform.NAME`, which no other process reads. `now` in seconds since the epoch."""
        self._bus, self._audit, self._queue, self._agents, self._pseudonym = bus, audit, queue, agents, pseudonym
        self._wait, self._now = wait, now
        # By command: which agent is to answer, and who waits for it.
        self._waiting: dict[str, tuple[str, asyncio.Future[None]]] = {}
        self._look = _FIRST_LOOK
        # Rows that the database has not taken yet.
        self._unwritten: dict[str, AuditEntry] = {}

    async def restart(self, agent: str, caller: Caller) -> None:
        """Return when the agent has said that it is there again. Raises Refused where it has not."""
        if agent not in self._agents():
            raise Refused(404, "agent_unknown", "There is no such agent.")
        command = uuid.uuid4().hex
        begun = self._begun(agent, command, caller)
        await write_first(self._audit, begun)
        refusal: Refused | None = Refused(500, "restart_interrupted", "It is not known whether the agent restarted.")
        try:
            refusal = await self._ordered(agent, command, caller.request_id)
        finally:
            await self._conclude(begun, refusal)
        if refusal is not None:
            raise refusal

    async def _ordered(self, agent: str, command: str, request_id: str) -> Refused | None:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[command] = agent, answer
        order = agent_commands.restart(agent, command, self._queue, self._now() + self._wait, request_id)
        try:
            async with asyncio.timeout(self._wait):
                await self._bus.publish(order)
                await answer
        except QueueFullError:
            return Refused(503, "queue_full", f"The queue of {agent} is full.")
        except BusError:
            return Refused(503, "bus_away", "The bus does not answer.")
        except TimeoutError:
            return Refused(504, "agent_silent", f"{agent} has not answered within {self._wait:g} seconds.")
        finally:
            del self._waiting[command]
        return None

    async def follow(self, stop: asyncio.Event) -> None:
        """Take what agents say, and close what was left open, until stopped."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(stop))
            tasks.create_task(self._settle(stop))

    async def _listen(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                for delivery in await self._bus.receive(self._queue, "platform", 10, 1.0):
                    self._take(delivery)
                    await self._bus.acknowledge(delivery)
            except BusAwayError as error:
                _LOG.warning("bus_away", recipient=self._queue, error=str(error))
                await _passed(stop, _PAUSE)

    def _take(self, delivery: Delivery) -> None:
        reply = delivery.message
        agent, answer = self._waiting.get(agent_commands.answered(reply) or "", (None, None))
        if answer is None or reply.sender != agent:
            _LOG.info("reply_to_nobody", sender=reply.sender, id=reply.id)
        elif not answer.done():
            answer.set_result(None)

    async def _settle(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.settle()
            except LOST_DATABASE as error:
                _LOG.warning("audit_not_settled", error=type(error).__name__)
            await _passed(stop, _SETTLE_SECONDS)

    async def settle(self) -> int:
        """Close what is open: what the database had not taken, and what processes left that have died; how many."""
        entries = dict(self._unwritten)
        now = datetime.fromtimestamp(self._now(), UTC)
        late = now - timedelta(seconds=self._wait + _MARGIN_SECONDS)
        found = await self._rows(now - self._look)
        for name, entry in found.items():
            end = _end_of(name)
            if entry.outcome == INITIATED and entry.timestamp < late and not {end} & (found.keys() | entries.keys()):
                entries[end] = _ended(entry, now, FAILURE, None, INTERRUPTED)
        if entries:
            await self._audit.write([*entries.values()])
            for name in entries:
                self._unwritten.pop(name, None)
        self._look = _LOOK
        return len(entries)

    async def _rows(self, since: datetime) -> Mapping[str, AuditEntry]:
        query = AuditQuery(gateway=_GATEWAY, endpoint_prefix=ENDPOINT, since=since)
        rows = [stored.entry async for stored in self._audit.scan(query)]
        return {entry.event_id: entry for entry in rows if entry.event_id.startswith("restart-")}

    def _begun(self, agent: str, command: str, caller: Caller) -> AuditEntry:
        return AuditEntry(
            timestamp=datetime.fromtimestamp(self._now(), UTC),
            gateway=_GATEWAY,
            endpoint=f"{ENDPOINT}?agent_id={agent}",
            method="POST",
            outcome=INITIATED,
            principal=caller.principal(self._pseudonym),
            ip=caller.address,
            user_agent=caller.user_agent,
            request_id=caller.request_id,
            role=caller.role,
            route=_ROUTE,
            event_id=f"restart-{command}",
        )

    async def _conclude(self, begun: AuditEntry, refusal: Refused | None) -> None:
        now = datetime.fromtimestamp(self._now(), UTC)
        outcome, status = (SUCCESS, 200) if refusal is None else (FAILURE, refusal.status)
        entry = _ended(begun, now, outcome, status, "" if refusal is None else refusal.code)
        self._unwritten[entry.event_id] = entry
        # Whoever asked is told what came of it even where the database has gone away meanwhile: it is written later.
        with contextlib.suppress(*LOST_DATABASE):
            await self._audit.write([entry])
            del self._unwritten[entry.event_id]


def _end_of(name: str) -> str:
    return f"{name}-end"


def _ended(begun: AuditEntry, now: datetime, outcome: str, status: int | None, reason: str) -> AuditEntry:
    name = _end_of(begun.event_id)
    return replace(begun, timestamp=now, outcome=outcome, status=status, reason=reason, event_id=name)


async def _passed(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
