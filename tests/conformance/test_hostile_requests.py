"""Requests that no Envoy would send: names, types, nonces and nodes without end or sense."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import structlog

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.clients import NODE, TYPE_URLS
from tests.conformance.planes import Plane, code_of, first, plane
from tests.conformance.talks import DELTA, SOTW, Served, Talk, names_of
from xds.protocol.subscription import Subscription

INVALID = grpc.StatusCode.INVALID_ARGUMENT


def subscription_of(it: Plane, short: str) -> Subscription:
    (connection,) = it.target.publisher.nodes.connections_of("edge", "edge-1")
    return connection.stream.subscriptions[TYPE_URLS[short]]


def ask(short: str, *names: str, **fields: Any) -> pb.DeltaDiscoveryRequest:
    return pb.DeltaDiscoveryRequest(type_url=TYPE_URLS[short], resource_names_subscribe=names, **fields)


async def answered(call: Any, short: str) -> list[Any]:
    """All that was sent before the answer to a question of this type, which nothing else asks about."""
    await call.write(ask(short, "a question"))
    came = [await call.read()]
    while came[-1].type_url != TYPE_URLS[short]:
        came.append(await call.read())
    return came[:-1]


async def test_names_of_ten_kilobytes_are_answered_in_parts_until_they_are_too_many_and_forgotten() -> None:
    async with plane(requests_per_second=100_000) as it:
        call = it.open()
        # No Envoy, so that no response may be larger than gRPC clients take.
        await call.write(ask("SDS", "none", node=NODE))
        await call.read()
        removed = 0
        for part in range(3):
            await call.write(ask("EDS", *(f"{part}-{number}-{'n' * 10_000}" for number in range(1_000))))
            while removed < 1_000 * (part + 1):
                async with asyncio.timeout(10):
                    response = await call.read()
                assert response.ByteSize() <= 4 * 1024 * 1024
                removed += len(response.removed_resources)
        await it.brings_a_change()
        await call.write(ask("EDS", *(f"3-{number}-{'n' * 10_000}" for number in range(1_000))))
        assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await it.until(lambda: it.target.publisher.nodes.ids("edge") == ["edge-2"])


async def test_a_million_names_that_come_and_go_leave_only_those_that_stay() -> None:
    async with plane(requests_per_second=100_000) as it:
        call = it.open()
        await call.write(first("EDS", "kept"))
        before: list[str] = []
        for turn in range(100):
            names = [f"{turn}-{number}" for number in range(10_000)]
            await call.write(ask("EDS", *names, resource_names_unsubscribe=before))
            before = names
            while (response := await call.read()) is not grpc.aio.EOF:
                await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["EDS"], response_nonce=response.nonce))
                if names[0] in response.removed_resources:
                    break
            if turn % 25 == 0:
                await it.brings_a_change()
        await call.write(ask("EDS", resource_names_unsubscribe=before))
        await answered(call, "SDS")
        left = subscription_of(it, "EDS")
        assert left.names == {"kept"}
        tables = (left.sent, left.acked, left.refused, left.asked, left.moved, left.in_flight, left.inherited)
        assert not any(tables), tables
        call.cancel()


async def test_types_that_nobody_serves_are_counted_and_nothing_of_them_is_kept() -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first())
        await call.read()
        for number in range(5_000):
            await call.write(pb.DeltaDiscoveryRequest(type_url=f"type.googleapis.com/unknown.Type{number}"))
        await call.write(pb.DeltaDiscoveryRequest(type_url="x" * 1_000_000))
        assert await answered(call, "SDS") == []
        assert it.metric("unknown_types_total") == 5_001
        (connection,) = it.target.publisher.nodes.connections_of("edge", "edge-1")
        assert connection.stream.subscriptions.keys() == {TYPE_URLS["CDS"], TYPE_URLS["SDS"]}
        await it.brings_a_change()
        call.cancel()


async def test_answers_to_what_was_never_said_are_counted_and_get_none() -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first())
        response = await call.read()
        error = pb.Status(code=13, message="no")
        for number in range(2_500):
            made_up = {"type_url": TYPE_URLS["CDS"], "response_nonce": f"{number + 1_000_000}"}
            await call.write(pb.DeltaDiscoveryRequest(**made_up))
            await call.write(pb.DeltaDiscoveryRequest(**made_up, error_detail=error))
        assert await answered(call, "SDS") == []
        assert it.metric("stale_nonces_total", type="CDS") == 5_000
        assert it.metric("acks_total", type="CDS") == 0
        assert it.metric("nacks_total", type="CDS") == 0
        # The true answer counts all the same; a thousand more of it count for none.
        for _ in range(1_000):
            await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["CDS"], response_nonce=response.nonce))
        await call.write(ask("SDS", "another question"))
        assert (await call.read()).type_url == TYPE_URLS["SDS"]
        assert it.metric("acks_total", type="CDS") == 1
        assert subscription_of(it, "CDS").acked.keys() == {"A"}
        await it.brings_a_change()
        call.cancel()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


MILLION = 1024 * 1024


@pytest.mark.parametrize(
    "message",
    [
        "x" * MILLION,
        "\n[info] all is well\x1b[2J" * 40_000,
        "-----BEGIN PRIVATE KEY-----" * 30_000,
        "goo.gle/debugstr " * 60_000,
        "goo.gle/debugstr Proto constraint validation failed" * 20_000,
    ],
    ids=["long", "of other lines", "of keys", "of dumps", "of dumps and reasons"],
)
async def test_a_refusal_of_a_megabyte_is_cut_in_log_and_status_and_history(logged: list[Any], message: str) -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first("RDS", "r"))
        it.target.set("RDS", r="bad")
        response = await call.read()
        while not response.resources:
            response = await call.read()
        refusal = {"response_nonce": response.nonce, "error_detail": pb.Status(code=13, message=message)}
        await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["RDS"], **refusal))
        await it.until(lambda: it.metric("nacks_total", type="RDS") == 1)
        said = [each["message"] for each in logged if "message" in each]
        said += [each.message for each in it.target.publisher.rolled_back("edge")]
        said += [each.message for node in it.target.publisher.nodes.status("edge") for each in node.refused]
        assert said
        assert all(len(each) < 2_500 for each in said)
        assert len(repr(logged)) < 20_000
        assert "PRIVATE KEY-----" not in "".join(said)
        await it.brings_a_change()
        call.cancel()


async def test_a_set_that_is_refused_without_a_word_of_which_keeps_nobody_waiting() -> None:
    async with plane() as it:
        call = pb_grpc.AggregatedDiscoveryServiceStub(it.channel).StreamAggregatedResources()
        await call.write(pb.DiscoveryRequest(node=first().node, type_url=TYPE_URLS["RDS"], resource_names=["none"]))
        routes = {f"route-{number}": "1" for number in range(3_000)}
        it.target.set("RDS", **routes)
        await call.write(pb.DiscoveryRequest(type_url=TYPE_URLS["RDS"], resource_names=routes))
        response = await call.read()
        while not response.resources:
            response = await call.read()
        refusal = {"response_nonce": response.nonce, "error_detail": pb.Status(code=13, message="no")}
        await call.write(pb.DiscoveryRequest(type_url=TYPE_URLS["RDS"], resource_names=routes, **refusal))
        await it.until(lambda: it.metric("nacks_total", type="RDS") == 1)
        await it.brings_a_change()
        call.cancel()


async def test_a_type_of_a_megabyte_is_not_repeated_to_who_said_it(logged: list[Any]) -> None:
    async with plane() as it:
        call = it.channel.stream_stream(
            "/envoy.service.cluster.v3.ClusterDiscoveryService/DeltaClusters",
            request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )()
        await call.write(pb.DeltaDiscoveryRequest(node=first().node, type_url="x" * MILLION))
        assert await code_of(call) is INVALID
        assert len(repr(logged)) < 2_000
        await it.brings_a_change()


def nested(depth: int) -> bytes:
    """A node with an id, and metadata that are a list in a list and so on."""
    inner = b""
    for _ in range(depth):
        inner = field(1, field(6, inner))
    return field(1, b"edge-1") + field(2, b"edge") + field(3, field(1, field(1, b"deep") + field(2, field(6, inner))))


def field(number: int, body: bytes) -> bytes:
    """Of the wire type for lengths (protobuf's encoding)."""
    size, length = b"", len(body)
    while length > 0x7F:
        size += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return bytes((number << 3 | 2,)) + size + bytes((length,)) + body


@pytest.mark.parametrize("depth", [10, 1_000, 5_000])
async def test_metadata_of_any_depth_are_read_past_or_refused(depth: int) -> None:
    async with plane() as it:
        call = it.channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            request_serializer=bytes,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )()
        await call.write(field(1, nested(depth)) + field(2, TYPE_URLS["CDS"].encode()))
        # protobuf reads a hundred levels, and each list of a list is two.
        if depth < 40:
            assert (await call.read()).resources
        else:
            assert await code_of(call) is INVALID
        await it.brings_a_change()
        call.cancel()


@pytest.mark.parametrize(
    "raw",
    [
        field(1, field(1, b"edge-\xff\xfe") + field(2, b"edge")) + field(2, TYPE_URLS["CDS"].encode()),
        field(1, field(1, b"edge-1") + field(2, b"edge")) + field(2, b"\xc3\x28"),
        field(1, field(1, b"edge-1") + field(2, b"edge"))
        + field(2, TYPE_URLS["EDS"].encode())
        + field(3, b"\xed\xa0\x80"),
        b"\xff" * 1_000,
        field(1, b"\x0a\xff\xff\xff\x7f"),
    ],
    ids=["node", "type", "name", "noise", "length"],
)
async def test_what_is_no_text_and_no_message_ends_its_stream(raw: bytes) -> None:
    async with plane() as it:
        call = it.channel.stream_stream(
            "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
            request_serializer=bytes,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )()
        await call.write(raw)
        assert await code_of(call) is INVALID
        assert it.target.publisher.nodes.ids("edge") == ["edge-2"]
        await it.brings_a_change()


@pytest.mark.parametrize(
    "node",
    [
        pb.Node(id="edge-1\n2026-01-01 [info] all is well", cluster="edge"),
        pb.Node(id="edge-1", cluster="edge\x1b[2J"),
        pb.Node(id="x" * 1_000_000, cluster="edge"),
        pb.Node(id="edge-1", cluster="edge", user_agent_name="x" * 1_000_000),
    ],
    ids=["another line", "terminal", "id", "user agent"],
)
async def test_a_node_that_could_not_be_shown_gets_nothing(logged: list[Any], node: pb.Node) -> None:
    async with plane() as it:
        call = it.open()
        await call.write(pb.DeltaDiscoveryRequest(node=node, type_url=TYPE_URLS["CDS"]))
        assert await code_of(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert it.metric("admission_refusals_total", reason="node") == 1
        assert it.target.publisher.nodes.groups() == ["edge"]
        assert len(repr(logged)) < 2_000
        await it.brings_a_change()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\x00", "\u202e", "../../etc/passwd", "a" * 100_000, " ", "%s%n"])
async def test_a_name_is_a_name_whatever_it_looks_like(name: str) -> None:
    async with plane() as it:
        call = it.open()
        await call.write(first("EDS", name))
        assert list((await call.read()).removed_resources) == [name]
        it.target.set("EDS", **{name: "1"})
        (resource,) = (await call.read()).resources
        assert resource.name == name
        call.cancel()


@pytest.mark.parametrize("variant", [*SOTW, *DELTA])
@pytest.mark.parametrize("seed", range(3))
async def test_whatever_the_order_of_names_and_wildcards_what_was_asked_for_last_counts(
    served: Served, talk: Any, variant: str, seed: int
) -> None:
    draw = random.Random(seed)
    served.set("CDS", A="v0", B="v0", C="v0")
    stream: Talk = talk(variant, "CDS")
    await stream.subscribe("A")
    asked = {"A"}
    for _ in range(60):
        some = {each for each in ("*", "A", "B", "C", "missing") if draw.random() < 0.4}
        if stream.delta:
            more, less = some - asked, some & asked
            await stream.write(
                type_url=TYPE_URLS["CDS"], resource_names_subscribe=more, resource_names_unsubscribe=less
            )
            asked = asked ^ some
        else:
            await stream.write(type_url=TYPE_URLS["CDS"], resource_names=sorted(some))
            asked = some
    await served.knows("CDS", *asked)
    served.set("CDS", A="end", B="end", C="end")
    expected = {"A", "B", "C"} if "*" in asked else names_of(asked) - {"missing"}
    came: dict[str, str] = {}
    while {name for name, version in came.items() if version == "end"} != expected:
        came |= (await stream.next()).resources
    assert not {name for name, version in came.items() if version == "end"} - expected
    stream.call.cancel()
