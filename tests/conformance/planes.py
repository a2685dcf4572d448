"""A control plane with one good client, and what bad clients of it say."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.clients import TYPE_URLS, Target
from xds.admission import ServerLimits
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import RunningServer, serve

OTHER = pb.Node(id="edge-2", cluster="edge")


@dataclass
class Plane:
    """A control plane, and one good client of it."""

    target: Target
    running: RunningServer
    registry: CollectorRegistry
    channel: grpc.aio.Channel
    good: Any

    async def brings_a_change(self) -> None:
        """The good client is sent what is published now, while all the others do what they do."""
        before = self.target.types["CDS"]["A"]
        self.target.set("CDS", A=f"{before}+")
        async with asyncio.timeout(10):
            response = await self.good.read()
        assert response.resources[0].resource.value == f"A@{before}+".encode()
        await self.good.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["CDS"], response_nonce=response.nonce))

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"apibank_xds_{name}", labels) or 0.0

    def open(self) -> Any:
        return pb_grpc.AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)


@asynccontextmanager
async def plane(**limits: Any) -> AsyncIterator[Plane]:
    publisher, registry = Publisher(), CollectorRegistry()
    target = Target(publisher)
    target.set("CDS", A="1")
    running = await serve(
        publisher, "127.0.0.1:0", identifier="r", metrics=XdsMetrics(registry), limits=ServerLimits(**limits)
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        good = pb_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
        await good.write(pb.DeltaDiscoveryRequest(node=OTHER, type_url=TYPE_URLS["CDS"]))
        await good.read()
        try:
            yield Plane(target, running, registry, channel, good)
        finally:
            good.cancel()
            await running.stop(0)


def first(short: str = "CDS", *names: str, **fields: Any) -> pb.DeltaDiscoveryRequest:
    node = pb.Node(id="edge-1", cluster="edge", user_agent_name="envoy")
    return pb.DeltaDiscoveryRequest(node=node, type_url=TYPE_URLS[short], resource_names_subscribe=names, **fields)


async def code_of(call: Any) -> grpc.StatusCode:
    async def drain() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await asyncio.wait_for(drain(), 10)
    return raised.value.code()
