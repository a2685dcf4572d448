"""Statements W12 to W20 of docs/conformance.md: state of the world, subscriptions, versions and lifetimes."""

from collections.abc import Callable

import grpc

from protos import discovery_pb2 as pb
from tests.conformance.clients import NODE, TYPE_URLS
from tests.conformance.talks import FULL_STATE, NAMED, SOTW, Served, Talk, body, cells, until
from xds.protocol.messages import WRAPPED_RESOURCES
from xds.publisher import Publisher
from xds.server import RunningServer, serve
from xds.snapshot import Resource

Open = Callable[..., Talk]
Server = tuple[Publisher, RunningServer]
EVERY = FULL_STATE + NAMED
COMPLETE = cells(SOTW, FULL_STATE)
BY_NAME = cells(SOTW, NAMED)
EACH = cells(SOTW, EVERY)


@EACH
async def test_w12_a_name_that_was_let_go_and_is_asked_for_again_is_sent_again(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    await stream.take()
    await stream.unsubscribe("B")
    await stream.subscribe("B")
    assert (await stream.take()).resources["B"] == "v1"
    await stream.ends_silently()


@COMPLETE
async def test_w13_a_wildcard_comes_goes_and_is_not_what_an_empty_list_means_later(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1")
    both = {"A": "v1", "B": "v1"}
    stream = talk(variant, short)
    await stream.subscribe("*")
    assert (await stream.take()).resources == both
    await stream.subscribe("A")
    assert (await stream.take()).resources == both
    await stream.unsubscribe("*")
    await stream.heard()
    served.set(short, B="v2")
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.unsubscribe("A")
    await stream.heard()
    served.set(short, A="v3", B="v3")
    await stream.ends_silently()


@COMPLETE
async def test_w13_an_empty_first_list_means_everything_and_stays_so(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe()
    assert (await stream.take()).resources == {"A": "v1"}
    served.set(short, B="v1")
    assert (await stream.take()).resources == {"A": "v1", "B": "v1"}
    await stream.subscribe("*", "A")
    assert (await stream.take()).resources == {"A": "v1", "B": "v1"}
    await stream.ends_silently()


@BY_NAME
async def test_w14_an_empty_list_of_a_type_that_goes_by_names_means_nothing(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe()
    await stream.heard()
    served.set(short, A="v2", B="v1")
    await stream.ends_silently()


@BY_NAME
async def test_w15_a_missing_name_keeps_nothing_back_and_comes_unasked_when_it_exists(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "missing")
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.heard()
    served.set(short, missing="v1")
    assert (await stream.take()).resources["missing"] == "v1"
    await stream.ends_silently()


@COMPLETE
async def test_w15_likewise_among_complete_sets(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe("A", "missing")
    assert (await stream.take()).resources == {"A": "v1"}
    served.set(short, missing="v1")
    assert (await stream.take()).resources == {"A": "v1", "missing": "v1"}
    await stream.ends_silently()


@EACH
async def test_w16_a_version_changes_if_and_only_if_what_the_node_gets_of_the_type_changes(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    other = "CDS" if short != "CDS" else "LDS"
    served.change(**{short: {"A": "v1", "B": "v1"}, other: {"A": "v1"}})
    stream = talk(variant, short)
    await stream.subscribe("A", "B")
    first = await stream.take()
    served.set(other, A="v2")
    again = talk(variant, short)
    await again.subscribe("A", "B")
    assert (await again.take()).version == first.version
    served.set(short, A="v2")
    second = await stream.take()
    assert second.version != first.version
    served.set(short, A="v1")
    assert (await stream.take()).version == first.version


@EACH
async def test_w16_another_replica_gives_the_same_version_to_the_same_content(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.set(short, A="v1", B="v1", C="v1")
    stream = talk(variant, short)
    await stream.subscribe("A")
    first = await stream.take()
    publisher = Publisher()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-2")
    replica = Served(publisher)
    # It has come to the same by another way.
    replica.set(short, C="v0")
    replica.set(short, C="v1", B="v1", A="v1")
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
            other = Talk(channel, short, delta=False, aggregated=stream.aggregated)
            await other.subscribe("A")
            said = await other.take()
            other.call.cancel()
    finally:
        await running.stop(0)
    assert said.version == first.version
    assert said.message.control_plane.identifier != first.message.control_plane.identifier


async def current(served: Served, talk: Open, variant: str, short: str, *names: str) -> str:
    """The version that a client had when its stream ended."""
    served.set(short, A="v1")
    stream = talk(variant, short)
    await stream.subscribe(*names)
    version = (await stream.take()).version
    await stream.ends_silently()
    return version


@COMPLETE
async def test_w17_a_wildcard_that_reconnects_with_the_current_version_is_told_of_changes_only(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    version = await current(served, talk, variant, short)
    stream = talk(variant, short)
    await stream.subscribe(version_info=version)
    served.set(short, A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    await stream.ends_silently()


@EACH
async def test_w17_names_are_answered_after_a_reconnection_too(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    version = await current(served, talk, variant, short, "A")
    stream = talk(variant, short)
    await stream.subscribe("A", version_info=version)
    assert (await stream.take()).resources == {"A": "v1"}
    await stream.ends_silently()


@EACH
async def test_w17_also_where_the_request_came_before_the_configuration(
    served: Served, talk: Open, server: Server, variant: str, short: str
) -> None:
    served.types[short] = {"A": "v1"}
    version = served.snapshot().versions[TYPE_URLS[short]]
    stream = talk(variant, short)
    await stream.subscribe("A", version_info=version)
    await until(lambda: server[0].nodes.count("edge") == 1)
    served.set(short, A="v1")
    said = await stream.take()
    assert (said.version, said.resources) == (version, {"A": "v1"})
    await stream.ends_silently()


@EACH
async def test_w18_no_response_holds_a_name_twice(served: Served, talk: Open, variant: str, short: str) -> None:
    served.set(short, A="v1", B="v1")
    stream = talk(variant, short)
    await stream.write(resource_names=["A", "A", "B", *(["*"] if short in FULL_STATE else [])])
    # Reading a response checks it.
    said = await stream.next()
    assert said.resources == {"A": "v1", "B": "v1"}
    assert len(said.message.resources) == 2


@COMPLETE
async def test_w19_a_wildcard_over_nothing_is_answered_with_an_empty_response(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.change()
    stream = talk(variant, short)
    await stream.subscribe()
    assert (await stream.take()).resources == {}
    await stream.ends_silently()


# In seconds; a third of it is the time between two heartbeats.
TTL = 0.06


def wrapped(said: pb.DiscoveryResponse) -> list[pb.Resource]:
    entries = []
    for each in said.resources:
        entry = pb.Resource()
        assert each.Unpack(entry)
        entries.append(entry)
    return entries


CAPABLE = pb.Node(id=NODE.id, cluster=NODE.cluster, client_features=[WRAPPED_RESOURCES])
CAPABLE_ENVOY = pb.Node(id=NODE.id, cluster=NODE.cluster, user_agent_name="envoy", client_features=[WRAPPED_RESOURCES])


@EACH
async def test_w20_a_time_to_live_is_for_clients_that_say_that_they_know_it(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.put(short, Resource.of("A", body("A", "v1"), ttl=60))
    capable, simple = talk(variant, short), talk(variant, short)
    await simple.subscribe("A")
    assert (await simple.take()).resources == {"A": "v1"}
    await capable.subscribe("A", node=CAPABLE)
    said = await capable.take()
    (entry,) = wrapped(said.message)
    assert (entry.name, entry.ttl.seconds, entry.resource.value) == ("A", 60, b"A@v1")
    for stream in (capable, simple):
        await stream.ends_silently()


@EACH
async def test_w20_heartbeats_come_before_it_is_over_and_have_the_same_version(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    # What goes on for ever is not renewed.
    served.put(short, Resource.of("A", body("A", "v1"), ttl=TTL), Resource.of("B", body("B", "v1")))
    stream = talk(variant, short)
    await stream.subscribe("A", "B", node=CAPABLE)
    first = await stream.take()
    for _ in range(2):
        beat = await stream.take()
        (entry,) = wrapped(beat.message)
        assert (beat.version, entry.name, entry.ttl.nanos) == (first.version, "A", TTL * 1e9)
        assert not entry.HasField("resource")


@EACH
async def test_w20_an_envoys_heartbeats_bring_all_that_it_would_drop_without(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    # Envoy 1.40 renews nothing without the body, and deletes what is left out of a complete set.
    served.put(short, Resource.of("A", body("A", "v1"), ttl=TTL), Resource.of("B", body("B", "v1")))
    stream = talk(variant, short)
    await stream.subscribe("A", "B", node=CAPABLE_ENVOY)
    first = await stream.take()
    for _ in range(2):
        beat = await stream.take()
        assert beat.version == first.version
        entry = pb.Resource()
        assert beat.message.resources[0].Unpack(entry)
        assert (entry.name, entry.ttl.nanos, entry.resource.value) == ("A", TTL * 1e9, b"A@v1")
        assert beat.resources == ({"B": "v1"} if short in FULL_STATE else {})


@EACH
async def test_w20_without_a_time_to_live_it_is_sent_once_more_and_no_heartbeat_follows(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.put(short, Resource.of("A", body("A", "v1"), ttl=60))
    stream = talk(variant, short)
    await stream.subscribe("A", node=CAPABLE)
    first = await stream.take()
    served.put(short, Resource.of("A", body("A", "v1")))
    said = await stream.take()
    assert said.resources == {"A": "v1"}
    assert said.version != first.version
    await stream.ends_silently()
