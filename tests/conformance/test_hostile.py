"""XDS.md §8: clients that do their worst cost a bounded amount, are counted, and harm nobody else."""

import asyncio

import grpc

from protos import discovery_pb2 as pb
from tests.conformance.clients import NODE, TYPE_URLS
from tests.conformance.http2 import RST_STREAM, Rude
from tests.conformance.planes import OTHER, code_of, first, plane
from xds.server import MAX_REQUEST_BYTES


async def test_clients_that_never_read_lose_their_streams_and_hold_up_no_change() -> None:
    async with plane(concurrent_pushes=2, write_seconds=2.0) as it:
        it.target.set("RDS", big="x" * 300_000)
        stuck = [await Rude.connect(it.running.port) for _ in range(5)]
        for client in stuck:
            client.open(1)
            client.send(1, first("RDS", "big"))
        await it.until(lambda: it.metric("streams", group="edge", dialect="delta") == 6)
        # More of them than are sent a change at once.
        await it.brings_a_change()
        await it.until(lambda: it.metric("stalled_streams_total") == 5)
        assert it.metric("streams", group="edge", dialect="delta") == 1
        assert it.target.publisher.nodes.ids("edge") == ["edge-2"]
        # They took what was in their window, and are told how it ended when they take the rest.
        assert all(client.received <= 65_535 for client in stuck)
        stuck[0].open_window(1)
        await stuck[0].until(lambda: 1 in stuck[0].ended)
        await it.brings_a_change()
        for client in stuck:
            await client.close()


async def test_a_server_stops_in_time_although_a_client_never_reads() -> None:
    async with plane() as it:
        it.target.set("RDS", big="x" * 300_000)
        stuck = await Rude.connect(it.running.port)
        stuck.open(1)
        stuck.send(1, first("RDS", "big"))
        await stuck.until(lambda: stuck.received > 0)
        async with asyncio.timeout(5):
            await it.running.stop(0.2)
        assert it.target.publisher.nodes.groups() == []
        await stuck.close()


async def test_a_client_that_refuses_in_a_loop_is_not_sent_the_same_again() -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first("RDS", "r"))
        it.target.set("RDS", r="bad")
        response = await call.read()
        while not response.resources:
            response = await call.read()
        error = pb.Status(code=13, message="no")
        for _ in range(500):
            await call.write(
                pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["RDS"], response_nonce=response.nonce, error_detail=error)
            )
        await it.brings_a_change()
        # An answer to another question shows that all refusals have been read, and that nothing was sent for them.
        await call.write(first("SDS", "none"))
        answers = [await call.read()]
        while answers[-1].type_url != TYPE_URLS["SDS"]:
            answers.append(await call.read())
        assert len(answers) <= 2
        assert all(not each.resources for each in answers)
        assert it.metric("nacks_total", type="RDS") == 1
        call.cancel()


async def test_a_client_that_asks_without_end_is_slowed_down_and_others_are_not() -> None:
    async with plane(requests_per_second=50) as it:
        call = it.open()
        await call.write(first())

        async def ask() -> None:
            while True:
                await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["CDS"], resource_names_subscribe=["A"]))

        asking = asyncio.create_task(ask())
        await it.until(lambda: it.metric("throttled_requests_total") > 0)
        await it.brings_a_change()
        # Ten seconds' worth at once, then its rate.
        assert it.metric("pushes_total", type="CDS") < 700
        asking.cancel()
        call.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def test_s12_a_first_request_beyond_what_is_read_is_refused() -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first("CDS", "x" * (MAX_REQUEST_BYTES + 1)))
        assert await code_of(call) in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED}
        await it.brings_a_change()


async def test_a_hundred_thousand_names_are_served_and_more_than_anybody_needs_are_refused() -> None:
    async with plane(max_names=100_000) as it:
        call = it.open()
        await call.write(first("EDS", *(f"endpoint-{number}" for number in range(100_000))))
        response = await call.read()
        assert len(response.removed_resources) == 100_000
        await it.brings_a_change()
        await call.write(first("EDS", "one more"))
        assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await it.brings_a_change()


async def test_ten_thousand_streams_on_one_connection_are_the_few_that_a_connection_may_have() -> None:
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        for number in range(10_000):
            rude.open(2 * number + 1)
        await rude.until(lambda: rude.seen[RST_STREAM] == 10_000 - rude.most_streams)
        assert 64 <= rude.most_streams <= 256
        await it.brings_a_change()
        await rude.close()


async def test_many_streams_of_one_node_do_not_take_the_places_of_others() -> None:
    async with plane(max_streams_per_node=10) as it:
        calls = [it.open() for _ in range(15)]
        for call in calls:
            await call.write(first())
        await it.until(lambda: it.metric("admission_refusals_total", reason="node_streams") == 5)
        assert it.metric("streams", group="edge", dialect="delta") == 11
        await it.brings_a_change()
        for call in calls:
            call.cancel()
        await it.until(lambda: it.metric("streams", group="edge", dialect="delta") == 1)
        again = it.open()
        await again.write(first())
        assert await again.read()
        again.cancel()


async def test_streams_that_never_say_whose_they_are_are_few_and_end() -> None:
    async with plane(max_silent_streams=20, first_request_seconds=0.5) as it:
        rude = await Rude.connect(it.running.port)
        for number in range(60):
            rude.open(2 * number + 1)
        await rude.until(lambda: len(rude.ended) >= 40)
        assert it.metric("admission_refusals_total", reason="silent_streams") == 40
        await it.brings_a_change()
        await rude.until(lambda: len(rude.ended) == 60)
        assert it.metric("silent_streams_total") == 20
        await rude.close()


async def test_connections_without_end_are_closed_beyond_a_bound_and_leave_room_when_they_go() -> None:
    async with plane(max_connections=1) as it:
        many = [await Rude.connect(it.running.port) for _ in range(300)]
        await many[-1].until(lambda: sum(each.closed for each in many) >= 300 - 257)
        await it.brings_a_change()
        for each in many:
            await each.close()


async def test_a_stream_that_turns_into_another_nodes_ends_and_shows_nothing_of_it() -> None:
    async with plane() as it:
        call = it.open()
        await call.write(pb.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["CDS"]))
        assert await call.read()
        it.target.set("RDS", secret="of others")
        await call.write(
            pb.DeltaDiscoveryRequest(node=OTHER, type_url=TYPE_URLS["RDS"], resource_names_subscribe=["secret"])
        )
        assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
        assert it.metric("pushes_total", type="RDS") == 0
        await it.brings_a_change()
