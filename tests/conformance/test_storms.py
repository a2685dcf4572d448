"""XDS.md §8: hundreds of proxies that come back at once, and connections that grow old."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.clients import TYPE_URLS, Target
from xds.admission import ServerLimits
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import RunningServer, serve

COUNT = 300
_STREAMS_PER_CHANNEL = 100


class Storm:
    """Proxies that connect all at once, each as a node of its own with a delta ADS stream of its own."""

    def __init__(self, port: int, count: int = COUNT) -> None:
        # Without a pool of its own each channel would use the same connection.
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options)
            for _ in range(0, count, _STREAMS_PER_CHANNEL)
        ]
        self.calls = [
            pb_grpc.AggregatedDiscoveryServiceStub(
                self._channels[number // _STREAMS_PER_CHANNEL]
            ).DeltaAggregatedResources()
            for number in range(count)
        ]

    async def greet(self, **known: str) -> None:
        for number, call in enumerate(self.calls):
            node = pb.Node(id=f"edge-{number}", cluster="edge", user_agent_name="envoy")
            # One that has been turned away already is not listened to; `first_answers` finds out why.
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await call.write(
                    pb.DeltaDiscoveryRequest(node=node, type_url=TYPE_URLS["CDS"], initial_resource_versions=known)
                )

    async def first_answers(self) -> list[Any]:
        """One of each; a status where the stream has ended."""

        async def answer(call: Any) -> Any:
            try:
                return await call.read()
            except grpc.aio.AioRpcError as error:
                return error.code()

        async with asyncio.timeout(20):
            return list(await asyncio.gather(*(answer(call) for call in self.calls)))

    async def close(self) -> None:
        for call in self.calls:
            call.cancel()
        for channel in self._channels:
            await channel.close()


@asynccontextmanager
async def plane(**limits: Any) -> AsyncIterator[tuple[Target, RunningServer, CollectorRegistry]]:
    publisher, registry = Publisher(), CollectorRegistry()
    target = Target(publisher)
    target.set("CDS", A="1", B="1")
    running = await serve(
        publisher, "127.0.0.1:0", identifier="r", metrics=XdsMetrics(registry), limits=ServerLimits(**limits)
    )
    try:
        yield target, running, registry
    finally:
        await running.stop(0)


async def test_a_storm_within_the_limits_is_admitted_and_resent_nothing_that_has_not_changed() -> None:
    async with plane() as (target, running, registry):
        current = target.publisher.snapshot("edge")
        assert current is not None
        versions = {each.name: each.version for _, each in current}
        storm = Storm(running.port)
        await storm.greet(**versions)
        # Everybody has it all; the first answer to a wildcard may be empty and nothing else.
        for answer in await storm.first_answers():
            assert isinstance(answer, pb.DeltaDiscoveryResponse)
            assert not answer.resources
            assert not answer.removed_resources
        assert target.publisher.nodes.count("edge") == COUNT
        assert registry.get_sample_value("apibank_xds_pushed_bytes_total", {"type": "CDS"}) == 0
        target.set("CDS", A="2")
        for answer in await storm.first_answers():
            assert [each.name for each in answer.resources] == ["A"]
        await storm.close()


async def test_a_storm_that_is_faster_than_the_rate_waits_a_little_and_is_admitted() -> None:
    # One half at once, the other within the second that a stream may be made to wait.
    async with plane(admissions_per_second=COUNT // 2 + 1) as (target, running, registry):
        storm = Storm(running.port)
        await storm.greet()
        answers = await storm.first_answers()
        assert all(isinstance(answer, pb.DeltaDiscoveryResponse) for answer in answers)
        assert registry.get_sample_value("apibank_xds_admission_wait_seconds_count") == COUNT
        assert target.publisher.nodes.count("edge") == COUNT
        await storm.close()


async def test_beyond_the_limit_a_storm_is_told_to_come_back_later_and_those_within_are_served() -> None:
    async with plane(admissions_per_second=20) as (target, running, registry):
        storm = Storm(running.port)
        await storm.greet()
        answers = await storm.first_answers()
        refused = sum(answer is grpc.StatusCode.RESOURCE_EXHAUSTED for answer in answers)
        served = sum(isinstance(answer, pb.DeltaDiscoveryResponse) for answer in answers)
        assert refused + served == COUNT
        assert served >= 40
        assert refused >= COUNT // 2
        assert registry.get_sample_value("apibank_xds_admission_refusals_total", {"reason": "rate"}) == refused
        assert target.publisher.nodes.count("edge") == served
        await storm.close()


async def test_a_server_that_is_full_says_so_and_whoever_leaves_makes_room() -> None:
    async with plane(max_connections=50) as (target, running, registry):
        storm = Storm(running.port, 60)
        await storm.greet()
        answers = await storm.first_answers()
        assert sum(answer is grpc.StatusCode.RESOURCE_EXHAUSTED for answer in answers) == 10
        assert registry.get_sample_value("apibank_xds_admission_refusals_total", {"reason": "streams"}) == 10
        await storm.close()
        async with asyncio.timeout(10):
            while target.publisher.nodes.count("edge"):
                await asyncio.sleep(0.01)
        again = Storm(running.port, 50)
        await again.greet()
        assert all(isinstance(answer, pb.DeltaDiscoveryResponse) for answer in await again.first_answers())
        await again.close()


async def test_connections_of_full_age_end_cleanly() -> None:
    async with plane(max_connection_age_seconds=1.0) as (target, running, registry):
        storm = Storm(running.port, 50)
        await storm.greet()
        await storm.first_answers()

        async def end(call: Any) -> grpc.StatusCode:
            while await call.read() is not grpc.aio.EOF:
                pass
            return await call.code()

        async with asyncio.timeout(10):
            codes = await asyncio.gather(*(end(call) for call in storm.calls))
        assert codes == [grpc.StatusCode.OK] * 50
        assert registry.get_sample_value("apibank_xds_aged_streams_total") == 50
        assert target.publisher.nodes.groups() == []
        await storm.close()


@pytest.mark.parametrize("listening", [True, False], ids=["reading", "not reading"])
async def test_a_server_that_stops_says_so_first_and_ends_hundreds_of_streams_cleanly(listening: bool) -> None:
    async with plane() as (target, running, _):
        storm = Storm(running.port)
        await storm.greet()
        await storm.first_answers()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            # What is published now is in flight when the server stops.
            target.set("CDS", A="2")
            stopping = asyncio.create_task(running.stop(5))
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            if listening:
                async with asyncio.timeout(10):
                    for call in storm.calls:
                        while await call.read() is not grpc.aio.EOF:
                            pass
                        assert await call.code() is grpc.StatusCode.OK
            async with asyncio.timeout(10):
                await stopping
        assert target.publisher.nodes.groups() == []
        late = Storm(running.port, 1)
        assert await late.first_answers() == [grpc.StatusCode.UNAVAILABLE]
        await late.close()
        await storm.close()
