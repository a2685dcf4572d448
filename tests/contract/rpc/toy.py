"""A service of a few words, behind either server: what it is told decides how it behaves."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from rpc.server import Running, ServerKind, serve_method
from rpc.service import Failure, Method, Status

SERVICE = "toy.v1.Toy"
PATH = f"/{SERVICE}/Say"
SECRET = "secret-of-the-exception"


@dataclass(slots=True, eq=False)
class Held:
    """A call that waits for the gate named `awaited`."""

    awaited: str
    word: bytes
    given_up: bool = False


@dataclass
class Toy:
    """`say W` is answered with W; `fail` fails; `raise` raises; `wait GATE W` waits until the gate is opened.

    `block` holds the whole event loop up until `blocked` is false.

    At the gates `raising`, `short` and `mixed` all raise, one answer too few comes, and the first of them fails.
    """

    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    settled: list[list[bytes]] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    begun: list[bytes] = field(default_factory=list)
    cancelled: int = 0
    blocked: bool = True

    def begin(self, raw: bytes, started: float) -> bytes | Failure | Held:
        self.begun.append(raw)
        verb, *words = raw.split()
        while verb == b"block" and self.blocked:
            time.sleep(0.005)
        if verb == b"block":
            return b"done"
        if verb == b"say":
            return words[0]
        if verb == b"fail":
            return Failure(Status.INVALID_ARGUMENT, "not a word")
        if verb == b"wait":
            held = Held(words[0].decode(), words[1])
            self.held.append(held)
            return held
        raise RuntimeError(SECRET)

    async def settle(self, waiting: Sequence[Held]) -> Sequence[bytes | Failure]:
        gate = waiting[0].awaited
        self.settled.append([each.word for each in waiting])
        try:
            await self.gate(gate).wait()
        except asyncio.CancelledError:
            self.cancelled += len(waiting)
            raise
        answers: list[bytes | Failure] = [b"gone" if each.given_up else each.word for each in waiting]
        if gate == "raising":
            raise RuntimeError(SECRET)
        if gate == "short":
            answers.pop()
        if gate == "mixed":
            answers[0] = Failure(Status.UNAVAILABLE, "not now")
        return answers

    def gate(self, name: str) -> asyncio.Event:
        return self.gates.setdefault(name, asyncio.Event())

    async def holds(self, count: int) -> None:
        """Until so many calls wait, and are being settled."""
        async with asyncio.timeout(10):
            while sum(map(len, self.settled)) < count:
                await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Served:
    toy: Toy
    running: Running
    channel: grpc.aio.Channel

    async def say(self, *words: str, timeout: float = 10) -> bytes:
        answer: bytes = await self.channel.unary_unary(PATH)(" ".join(words).encode(), timeout=timeout)
        return answer

    async def code(self, *words: str, timeout: float = 10) -> grpc.StatusCode:
        """How a call fails. Nothing of an exception is told."""
        try:
            await self.say(*words, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            # That something went wrong may be told, and not what.
            return error.code() if SECRET not in str(error) else grpc.StatusCode.DATA_LOSS
        return grpc.StatusCode.OK


def is_serving(name: str) -> bool:
    if name == "broken":
        raise RuntimeError(SECRET)
    return name in {"", SERVICE, "more"}


@asynccontextmanager
async def serving(kind: ServerKind, toy: Toy | None = None) -> AsyncIterator[Served]:
    toy = toy or Toy()
    method = Method(SERVICE, "Say", toy, is_serving, max_bytes=1000, at_once=16)
    running = await serve_method(method, "127.0.0.1:0", kind)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        yield Served(toy, running, channel)
    await running.stop(0)
