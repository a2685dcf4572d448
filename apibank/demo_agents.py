"""Demo agents: they take their messages from the bus, work as long as they are told to, and acknowledge.

They stand in for real agents and show what one does: it handles each message at least once, restarts when the platform
orders it, and says so. A payload may ask for more: `{"demo": {"seconds": 3}}` is work that lasts, and
`{"demo": {"refuse": "why"}}` is work that nobody can do.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter

from messaging.bus import Bus, Message
from messaging.consumer import Consumer, Handle, UnusableError
from portal.agent_commands import RESTART, control_queue, restarted, still_wanted

_LOG: Final = structlog.get_logger(__name__)
_LONGEST_WORK: Final = 60.0
# What an agent that stops or restarts has begun is finished within this, or left to whoever comes next.
_GRACE_SECONDS: Final = 3.0
_PAUSE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """`consumer`: what no other process of these agents is called. `lease`: the bus's, in seconds."""

    bus: Bus
    consumer: str
    lease: float


class AgentMetrics:
    """What became of messages."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages = Counter(
            "apibank_agent_messages", "Messages that demo agents were given.", ["agent", "outcome"], registry=registry
        )


class DemoAgent:
    """One agent, until it is stopped; a restart ends what it is and begins it anew."""

    def __init__(self, name: str, place: Place, metrics: AgentMetrics, now: Callable[[], float] = time.time) -> None:
        self._name, self._place, self._metrics, self._now = name, place, metrics, now
        self._ended, self._began = asyncio.Event(), asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._live(stop))
            tasks.create_task(self._consumer(control_queue(self._name), self._obey, at_once=1).run(stop))

    async def _live(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._ended = asyncio.Event()
            stopping = asyncio.create_task(_either(stop, self._ended))
            self._began.set()
            try:
                await self._consumer(self._name, self._handle, at_once=8).run(self._ended)
            finally:
                stopping.cancel()

    def _consumer(self, queue: str, handle: Handle, *, at_once: int) -> Consumer:
        place = self._place
        return Consumer(
            place.bus, queue, place.consumer, handle, at_once=at_once, lease=place.lease, grace=_GRACE_SECONDS
        )

    async def _handle(self, message: Message) -> None:
        try:
            await _work(message)
        except UnusableError:
            self._count("refused")
            raise
        self._count("done")
        _LOG.info(
            "message_done", agent=self._name, type=message.type, id=message.id, sender=message.sender,
            request_id=message.request_id,
        )  # fmt: skip

    async def _obey(self, command: Message) -> None:
        if command.type != RESTART or not still_wanted(command, self._now()):
            # Whoever ordered it has stopped waiting, and has said so.
            _LOG.warning("command_ignored", agent=self._name, type=command.type, id=command.id)
            self._count("ignored")
            return
        self._began.clear()
        self._ended.set()
        await self._began.wait()
        await self._place.bus.publish(restarted(self._name, command))
        self._count("restarted")
        _LOG.info("agent_restarted", agent=self._name, command=command.id, request_id=command.request_id)

    def _count(self, outcome: str) -> None:
        self._metrics.messages.labels(self._name, outcome).inc()


async def run_agents(
    names: Callable[[], frozenset[str]], place: Place, registry: CollectorRegistry, stop: asyncio.Event
) -> None:
    """Be all agents that there are, also those that a policy brings later, until stopped."""
    metrics = AgentMetrics(registry)
    running: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}
    ending = asyncio.create_task(stop.wait())
    try:
        while not stop.is_set():
            wanted = names()
            for name in wanted - running.keys():
                ended = asyncio.Event()
                running[name] = ended, asyncio.create_task(DemoAgent(name, place, metrics).run(ended))
            for name in running.keys() - wanted:
                ended, task = running.pop(name)
                ended.set()
                await task
            await asyncio.wait({ending}, timeout=_PAUSE)
    finally:
        ending.cancel()
        for ended, _ in running.values():
            ended.set()
        await asyncio.gather(*(task for _, task in running.values()))


async def _either(stop: asyncio.Event, ended: asyncio.Event) -> None:
    await stop.wait()
    ended.set()


async def _work(message: Message) -> None:
    """As long as the payload says. Raises UnusableError where it says that nobody can do it."""
    payload = orjson.loads(message.payload)
    told = payload.get("demo") if isinstance(payload, Mapping) else None
    if not isinstance(told, Mapping):
        return
    if isinstance(why := told.get("refuse"), str):
        raise UnusableError(why[:200])
    seconds = told.get("seconds")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool):
        await asyncio.sleep(min(max(seconds, 0), _LONGEST_WORK))
