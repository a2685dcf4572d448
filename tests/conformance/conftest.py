"""A control plane on a free port, in this process, and clients for it."""

from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from tests.conformance.clients import Client, Target
from tests.conformance.talks import Served, Talk
from xds.publisher import Publisher
from xds.server import RunningServer, serve


@pytest.fixture
async def server() -> AsyncIterator[tuple[Publisher, RunningServer]]:
    publisher = Publisher()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1")
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
