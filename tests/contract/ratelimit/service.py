"""The service under test, behind either server, and how the tests ask it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from prometheus_client import CollectorRegistry

from protos import rls_pb2 as pb
from protos import rls_pb2_grpc as pb_grpc
from ratelimit.algorithms import FixedWindow
from ratelimit.limiter import RateLimiter
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Headers, Node, Pattern, Rule
from ratelimit.server import serve
from ratelimit.store import CounterStore
from rpc.server import Running, ServerKind

OK, OVER = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT
SECOND = 1_000_000
NOON = 1_764_072_000 * SECOND
UNLIMITED = 4_294_967_295
Path = tuple[tuple[str, str | None], ...]


@dataclass
class Asked:
    """The service under test: its limiter, its clock, and a stub that calls it."""

    stub: pb_grpc.RateLimitServiceStub
    channel: grpc.aio.Channel
    limiter: RateLimiter
    registry: CollectorRegistry
    running: Running
    clock: list[int]

    async def ask(
        self, *descriptors: pb.RateLimitDescriptor, domain: str = "test", hits: int = 0
    ) -> pb.RateLimitResponse:
        request = pb.RateLimitRequest(domain=domain, descriptors=descriptors, hits_addend=hits)
        answer: pb.RateLimitResponse = await self.stub.ShouldRateLimit(request, timeout=10)
        return answer

    async def codes(self, *descriptors: pb.RateLimitDescriptor, times: int, domain: str = "test") -> list[int]:
        return [(await self.ask(*descriptors, domain=domain)).overall_code for _ in range(times)]

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def serving(
    store: CounterStore, kind: ServerKind = "native", clock: list[int] | None = None
) -> AsyncIterator[Asked]:
    """The service over a store, on a free port."""
    registry = CollectorRegistry()
    limiter = RateLimiter(store, RateLimitMetrics(registry))
    running = await serve(limiter, "127.0.0.1:0", kind)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        yield Asked(pb_grpc.RateLimitServiceStub(channel), channel, limiter, registry, running, clock or [NOON])
    await running.stop(0)


def per(amount: int, unit: Unit, **more: Any) -> Rule:
    return Rule(f"{amount} per {unit}", FixedWindow(amount, unit.microseconds), unit, **more)


def tree(rules: Mapping[Path, Rule]) -> Node:
    """A value of None stands for any, one with * in it for all that fit."""
    here = rules.get(())
    firsts = dict.fromkeys(path[0] for path in rules if path)
    below = {first: tree({path[1:]: rule for path, rule in rules.items() if path[:1] == (first,)}) for first in firsts}
    return Node(
        here,
        exact={(key, value): node for (key, value), node in below.items() if value and "*" not in value},
        wildcard=tuple(
            (key, Pattern.of(value), node) for (key, value), node in below.items() if value and "*" in value
        ),
        any_value={key: node for (key, value), node in below.items() if value is None},
    )


def domain(asked: Asked, rules: Mapping[Path, Rule], headers: Headers = Headers.ALWAYS) -> None:
    asked.limiter.install(DomainRules("test", tree(rules), headers))


def descriptor(*entries: tuple[str, str], hits: int | None = None, refund: bool = False) -> pb.RateLimitDescriptor:
    message = pb.RateLimitDescriptor(is_negative_hits=refund)
    for key, value in entries:
        message.entries.add(key=key, value=value)
    if hits is not None:
        message.hits_addend.value = hits
    return message


def headers_of(answer: pb.RateLimitResponse) -> dict[str, str]:
    return {header.key: header.value for header in answer.response_headers_to_add}
