"""Statements S1 to S12 of docs/conformance.md: streams, nodes, nonces and sizes."""

from collections.abc import Awaitable, Callable

import grpc
import pytest

from protos import discovery_pb2 as pb
from tests.conformance.clients import NODE, TYPE_URLS
from tests.conformance.talks import ADS, ALL, DELTA, DELTA_ONLY, SOTW, TYPES, Served, Talk, cells, until
from xds.publisher import Publisher
from xds.server import RunningServer

Open = Callable[..., Talk]
Counted = Callable[..., float]
Majority = Callable[..., Awaitable[None]]
Server = tuple[Publisher, RunningServer]
VARIANT = pytest.mark.parametrize("variant", ALL)
INVALID = grpc.StatusCode.INVALID_ARGUMENT


async def is_served(served: Served, talk: Open, variant: str, short: str = "RDS") -> None:
    """Another stream has all it could wish for."""
    served.set(short, A="v1")
    other = talk(variant, short)
    await other.subscribe("A")
    assert (await other.take()).resources == {"A": "v1"}


async def joined(publisher: Publisher, streams: int = 1) -> None:
    """The server knows whose streams these are, although it says nothing."""
    await until(lambda: sum(1 for _ in publisher.nodes.connections("edge")) >= streams)


@cells(ALL, TYPES)
@pytest.mark.parametrize("node", [None, pb.Node()], ids=["no node", "an empty node"])
async def test_s1_the_node_of_the_first_message_stays(
    served: Served, talk: Open, server: Server, variant: str, short: str, node: pb.Node | None
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    said = await stream.next()
    await stream.ack(said, node=node)
    await stream.subscribe("B", node=node)
    assert (await stream.take()).resources["B"] == "v1"
    assert server[0].nodes.ids("edge") == [NODE.id]
    await stream.ends_silently()


@cells(ALL, TYPES)
@pytest.mark.parametrize(
    "node", [pb.Node(id="edge-2", cluster="edge"), pb.Node(id="edge-1", cluster="other")], ids=["id", "cluster"]
)
async def test_s2_another_node_on_the_same_stream_ends_it(
    served: Served, talk: Open, variant: str, short: str, node: pb.Node
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.ack(await stream.next(), node=node)
    code, reason = await stream.refused()
    assert code is INVALID
    assert "edge-1" in reason
    await is_served(served, talk, variant)


@cells(ALL, TYPES)
@pytest.mark.parametrize("node", [None, pb.Node(cluster="edge")], ids=["no node", "no id"])
async def test_s3_a_first_message_that_names_no_node_ends_the_stream_and_nothing_else(
    served: Served, talk: Open, server: Server, variant: str, short: str, node: pb.Node | None
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", node=node)
    assert (await stream.refused())[0] is INVALID
    assert server[0].nodes.groups() == []
    await is_served(served, talk, variant)


@pytest.mark.parametrize("variant", ADS)
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
async def test_s4_a_message_without_a_type_ends_an_aggregated_stream(
    served: Served, talk: Open, variant: str, later: bool
) -> None:
    served.set("CDS", A="v1")
    stream = talk(variant, "CDS")
    if later:
        await stream.subscribe("A")
        await stream.take()
    await stream.write(type_url="")
    assert (await stream.refused())[0] is INVALID
    await is_served(served, talk, variant)


@cells(("sotw, separate", "delta, separate"), TYPES)
async def test_s5_a_service_of_one_type_takes_no_type_for_its_own_and_refuses_others(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.change(**{short: {"A": "v1"}, "CDS": {"A": "v1"}, "LDS": {"A": "v1"}})
    own, other, later = talk(variant, short), talk(variant, short), talk(variant, short)
    subscribed = {"resource_names_subscribe" if own.delta else "resource_names": ["A"]}
    await own.write(type_url="", **subscribed)
    said = await own.take()
    assert (said.short, said.resources) == (short, {"A": "v1"})
    wrong = TYPE_URLS["CDS" if short != "CDS" else "LDS"]
    await other.write(type_url=wrong, **subscribed)
    assert (await other.refused())[0] is INVALID
    await later.subscribe("A")
    await later.take()
    await later.write(type_url=wrong, **subscribed)
    assert (await later.refused())[0] is INVALID
    await own.ends_silently()


@pytest.mark.parametrize("short", DELTA_ONLY)
async def test_s5_what_exists_incrementally_only_has_no_method_of_state_of_the_world(
    channel: grpc.aio.Channel, talk: Open, short: str
) -> None:
    stream = talk("sotw, separate", short)
    assert (await stream.refused())[0] is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("variant", ADS)
async def test_s6_an_unknown_type_is_counted_and_leaves_the_stream_as_it_is(
    served: Served, talk: Open, counted: Counted, variant: str
) -> None:
    served.set("CDS", A="v1")
    stream = talk(variant, "CDS")
    await stream.write(type_url="type.googleapis.com/no.such.Type")
    await stream.subscribe("A")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.write(type_url="type.googleapis.com/no.such.Type")
    served.set("CDS", A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.ends_silently()
    assert counted("unknown_types") == 2


@pytest.mark.parametrize("variant", ADS)
@pytest.mark.parametrize("act", ["nack", "stale nonce", "unsubscribe"])
@pytest.mark.parametrize(("one", "other"), [("CDS", "RDS"), ("RDS", "CDS"), ("EDS", "LDS"), ("LDS", "SDS")])
async def test_s7_what_happens_to_one_type_changes_nothing_for_another(
    served: Served, talk: Open, majority: Majority, counted: Counted, variant: str, act: str, one: str, other: str
) -> None:
    served.change(**{one: {"A": "v1"}, other: {"A": "v1"}})
    await majority(variant, one, other)
    stream = talk(variant, one)
    for short in (one, other):
        await stream.subscribe("A", of=short)
        assert (await stream.take()).short == short
    await served.answered()
    if act == "nack":
        served.set(one, A="v2")
        await stream.nack(await stream.next())
        await until(lambda: counted("nacks", type=one) == 1)
    elif act == "stale nonce":
        await stream.subscribe(of=one, response_nonce="of no response")
    else:
        await stream.unsubscribe("A", of=one)
    served.set(other, A="v2")
    said = await stream.take()
    assert (said.short, said.resources) == (other, {"A": "v2"})
    await stream.ends_silently()


@cells(ALL, TYPES)
async def test_s8_every_response_has_a_nonce_of_its_own(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    nonces = [(await stream.take()).nonce]
    for version in ("v2", "v3", "v4"):
        served.set(short, A=version)
        nonces.append((await stream.take()).nonce)
    assert all(nonces)
    assert len(set(nonces)) == len(nonces)


@cells(ALL, TYPES)
async def test_s8_a_nonce_of_an_earlier_stream_counts_for_none(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", response_nonce="1")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.ends_silently()
    assert counted("stale_nonces") == 0
    assert counted("acks") == 1


@cells(ALL, TYPES)
async def test_s9_two_streams_of_one_node_are_both_served_and_one_ends_without_the_other(
    served: Served, talk: Open, server: Server, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    old, new = talk(variant, short), talk(variant, short)
    for stream in (old, new):
        await stream.subscribe("A")
        assert (await stream.take()).resources == {"A": "v1"}
    served.set(short, A="v2")
    for stream in (old, new):
        assert (await stream.take()).resources == {"A": "v2"}
    await old.ends_silently()
    assert server[0].nodes.ids("edge") == [NODE.id]
    served.set(short, A="v3")
    assert (await new.take()).resources == {"A": "v3"}
    await new.ends_silently()


@cells(ALL, TYPES)
@pytest.mark.parametrize("names", [(), ("A",)], ids=["unnamed", "named"])
async def test_s10_before_there_is_a_configuration_nothing_is_said(
    talk: Open, variant: str, short: str, names: tuple[str, ...]
) -> None:
    stream = talk(variant, short)
    await stream.subscribe(*names)
    await stream.ends_silently()


@cells(ALL, TYPES)
async def test_s10_the_first_configuration_is_said_at_once(
    served: Served, talk: Open, server: Server, variant: str, short: str
) -> None:
    stream = talk(variant, short)
    await stream.subscribe("A")
    await joined(server[0])
    served.set(short, A="v1")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.ends_silently()


@cells(ALL, TYPES)
async def test_s11_every_response_names_the_replica(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    assert (await stream.take()).message.control_plane.identifier == "replica-1"
    served.set(short, A="v2")
    assert (await stream.take()).message.control_plane.identifier == "replica-1"


@pytest.mark.parametrize("variant", DELTA)
async def test_s12_a_first_request_of_many_megabytes_is_read_incrementally(
    served: Served, talk: Open, variant: str
) -> None:
    served.set("CDS", A="v1")
    known = {f"cluster-{number:06}": "0" * 64 for number in range(60_000)}
    stream = talk(variant, "CDS")
    await stream.subscribe(initial_resource_versions=known, node=huge_node())
    brought: dict[str, str] = {}
    removed = 0
    while removed < len(known):
        said = await stream.take()
        brought |= said.resources
        removed += len(said.removed)
    assert (brought, removed) == ({"A": "v1"}, len(known))


@pytest.mark.parametrize("variant", SOTW)
async def test_s12_a_first_request_of_many_megabytes_is_read_in_state_of_the_world(
    served: Served, talk: Open, variant: str
) -> None:
    served.set("RDS", A="v1")
    stream = talk(variant, "RDS")
    await stream.subscribe("A", *(f"route-{number:06}-{'x' * 64}" for number in range(60_000)), node=huge_node())
    assert (await stream.take()).resources == {"A": "v1"}


def huge_node() -> pb.Node:
    node = pb.Node(id=NODE.id, cluster=NODE.cluster)
    node.metadata["everything"] = "m" * 8_000_000
    return node


@cells(ALL, ("CDS", "LDS", "RDS", "EDS", "SDS"))
async def test_s12_what_a_client_with_grpcs_usual_limit_could_not_receive_is_counted_and_not_sent(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    stream = talk(variant, short)
    served.change(**{short: {"A": "v1"}})
    await stream.subscribe("A", "big")
    assert (await stream.take()).resources == {"A": "v1"}
    await served.answered()
    served.set(short, big="v" * 5_000_000)
    await until(lambda: counted("oversized", type=short) >= 1)
    # It is as if the client had refused it: it is rolled back, the stream lives on, and what fits is sent.
    served.set(short, big="v2")
    assert (await stream.collect(["big"]))["big"] == "v2"
    await stream.ends_silently()


@cells(("sotw, separate", "sotw, ADS"), ("CDS", "LDS", "SRDS"))
async def test_s12_what_is_sent_and_not_yet_answered_is_not_refused_along_with_it(
    served: Served, talk: Open, counted: Counted, variant: str, short: str
) -> None:
    stream = talk(variant, short)
    served.change(**{short: {"A": "v1"}})
    await stream.subscribe("A", "big")
    await stream.next()
    served.set(short, big="v" * 5_000_000)
    await until(lambda: counted("oversized", type=short) >= 1)
    # Nobody else has the one or the other, and yet only the one that was too large is rolled back.
    assert {each.name for each in served.publisher.rolled_back("edge")} == {"big"}
    assert (await stream.take()).resources == {"A": "v1"}
    await served.answered()
    (status,) = served.publisher.nodes.status("edge")
    states = {each.name: each.state.name for of_type in status.types for each in of_type.resources}
    assert states["A"] == "SYNCED"
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
