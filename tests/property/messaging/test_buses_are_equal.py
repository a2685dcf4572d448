"""Whatever is asked of them, the bus in memory and the one on Valkey answer the same."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.bus import Bus, BusError, BusLimits, DeadLetter, Delivery, Message
from messaging.memory import MemoryBus
from messaging.redis_streams import RedisBus
from tests.contract.ratelimit.valkey import valkey

LIMITS = BusLimits(capacity=4, dead_letters=2, attempts=2, lease=600.0)

Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "receive", "acknowledge", "renew", "release", "reject", "revive", "discard"]),
        st.integers(0, 3),
        st.integers(0, 2),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with valkey() as (address, _):
        yield address


class Told:
    """One bus, and what was said to whoever used it; positions are its own and stay out of it."""

    def __init__(self, bus: Bus, recipient: str) -> None:
        self.bus, self.recipient = bus, recipient
        self.deliveries: list[Delivery] = []
        self.letters: list[DeadLetter] = []
        self.said: list[object] = []

    async def do(self, step: Step) -> None:
        try:
            self.said.append(await self._done(*step))
        except BusError as error:
            self.said.append(type(error).__name__)
        depth = await self.bus.depth(self.recipient)
        self.letters = [*await self.bus.dead_letters(self.recipient)]
        self.said.append((depth, [(one.message, one.reason, one.attempts) for one in self.letters]))

    async def _done(self, what: str, which: int, how: int) -> object:
        if what == "publish":
            message = Message(f"m-{which}", "task", f"s-{how}", self.recipient, b"{}")
            return (
                await self.bus.publish(replace(message, payload=b"[]") if how == 2 and which == 3 else message)
            ).repeated
        if what == "receive":
            found = await self.bus.receive(self.recipient, f"c-{how}", which + 1)
            self.deliveries += found
            return [(one.message, one.attempt, one.consumer) for one in found]
        if what in {"revive", "discard"}:
            position = self.letters[which].position if which < len(self.letters) else "none"
            return await getattr(self.bus, what)(self.recipient, position)
        if which >= len(self.deliveries):
            return None
        delivery = self.deliveries[-1 - which]
        if what == "reject":
            return await self.bus.reject(delivery, f"reason {how}")
        return await getattr(self.bus, what)(delivery)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=STEPS)
def test_they_say_the_same(url: str, steps: list[Step]) -> None:
    async def both() -> tuple[list[object], list[object]]:
        name = f"agent-{secrets.token_hex(6)}"
        shared = RedisBus.from_url(url, LIMITS)
        told = (Told(MemoryBus(LIMITS), name), Told(shared, name))
        try:
            for step in steps:
                for one in told:
                    await one.do(step)
        finally:
            await shared.close()
        return told[0].said, told[1].said

    ours, theirs = asyncio.run(both())
    assert ours == theirs
