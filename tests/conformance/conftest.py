"""A control plane on a free port, in this process, and clients for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

from protos import discovery_pb2 as pb
from tests.conformance.clients import Client, Target
from tests.conformance.talks import Served, Talk
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import RunningServer, serve


@pytest.fixture
def registry() -> CollectorRegistry:
    """What the server counts."""
    return CollectorRegistry()


@pytest.fixture
async def server(registry: CollectorRegistry) -> AsyncIterator[tuple[Publisher, RunningServer]]:
    publisher = Publisher()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1", metrics=XdsMetrics(registry))
    yield publisher, running
    await running.stop(0)


@pytest.fixture
def target(server: tuple[Publisher, RunningServer]) -> Target:
    return Target(server[0])


@pytest.fixture
async def channel(server: tuple[Publisher, RunningServer]) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server[1].port}") as channel:
        yield channel


@pytest.fixture
async def connect(channel: grpc.aio.Channel) -> AsyncIterator[Callable[[str], Client]]:
    """`connect("delta, ADS")` and so on: a client of that variant."""
    clients: list[Client] = []

    def connected(variant: str) -> Client:
        dialect, _, streams = variant.partition(", ")
        clients.append(Client(channel, delta=dialect == "delta", aggregated=streams == "ADS"))
        return clients[-1]

    yield connected
    for client in clients:
        await client.__aexit__()


@pytest.fixture
def served(server: tuple[Publisher, RunningServer]) -> Served:
    return Served(server[0])


@pytest.fixture
async def talk(channel: grpc.aio.Channel) -> AsyncIterator[Callable[..., Talk]]:
    """`talk("delta, ADS", "CDS")`: a stream of that variant, about that type."""
    talks: list[Talk] = []

    def opened(variant: str, short: str) -> Talk:
        dialect, _, streams = variant.partition(", ")
        talks.append(Talk(channel, short, delta=dialect == "delta", aggregated=streams == "ADS"))
        return talks[-1]

    yield opened
    for each in talks:
        each.call.cancel()


@pytest.fixture
def counted(registry: CollectorRegistry) -> Callable[..., float]:
    """`counted("nacks", type="CDS")`: what a counter shows for all that has these labels."""

    def total(name: str, **labels: str) -> float:
        samples = (sample for metric in registry.collect() for sample in metric.samples)
        return sum(
            sample.value
            for sample in samples
            if sample.name == f"apibank_xds_{name}_total" and labels.items() <= sample.labels.items()
        )

    return total


@pytest.fixture
async def majority(talk: Callable[..., Talk]) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """`majority(variant, "CDS", "RDS")`: two other proxies that accept all A and B of these types.

    What one proxy alone refuses is rolled back; beside these its refusal stands, and so does what was published.
    """
    following: list[asyncio.Task[None]] = []

    async def opened(variant: str, *types: str) -> None:
        for number in (2, 3):
            stream = talk(variant, types[0])
            for short in types:
                node = pb.Node(id=f"edge-{number}", cluster="edge")
                await stream.subscribe("A", "B", of=short, node=node)
            following.append(asyncio.create_task(stream.follow()))

    yield opened
    for each in following:
        each.cancel()
    await asyncio.gather(*following, return_exceptions=True)
