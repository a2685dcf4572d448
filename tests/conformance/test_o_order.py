"""Statements O1 to O8 of docs/conformance.md: the order in which one change reaches a proxy."""

import asyncio
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from prometheus_client import CollectorRegistry

from tests.conformance.clients import TYPE_URLS
from tests.conformance.talks import ADS, DELTA, DELTA_ONLY, TYPES, Said, Served, Talk, body, cells
from xds.consistency import inconsistencies
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import serve
from xds.snapshot import CLUSTER, ENDPOINT, ROUTE, Origin, Resource

Open = Callable[..., Talk]
Counted = Callable[..., float]
VARIANT = pytest.mark.parametrize("variant", ADS)


def routed(served: Served, to: str) -> None:
    """One route, to this cluster, with its endpoints; nothing else."""
    served.types = {"CDS": {to: "v1"}, "EDS": {to: "v1"}}
    served.put("RDS", Resource.of("r", body("r", to), needs=[(CLUSTER, to)]))


async def opened(talk: Open, variant: str, *types: str) -> Talk:
    """A stream that has all of these, about a type of which there is nothing."""
    stream = talk(variant, "RTDS")
    for short in types:
        await stream.subscribe("*" if short in ("CDS", "LDS", "SRDS") else "A", of=short)
        await stream.take()
    return stream


@VARIANT
@pytest.mark.parametrize("backwards", [False, True], ids=["asked in order", "asked backwards"])
async def test_o1_one_change_goes_out_in_the_order_of_what_refers_to_what(
    served: Served, talk: Open, variant: str, backwards: bool
) -> None:
    types = [short for short in TYPES if variant == "delta, ADS" or short not in DELTA_ONLY]
    served.change(**{short: {"A": "v1"} for short in types})
    stream = await opened(talk, variant, *(reversed(types) if backwards else types))
    if backwards:
        # They came before their cluster did, and follow it once more (O2).
        assert (await stream.take()).short == "EDS"
    await served.answered()
    served.change(**{short: {"A": "v2"} for short in types})
    came: list[str] = []
    while len(came) < len(types):
        said = await stream.take()
        assert said.resources["A"] == "v2"
        came.append(said.short)
    assert came == types
    await stream.ends_silently()


@VARIANT
async def test_o2_the_endpoints_follow_a_changed_cluster_although_they_have_not_changed(
    served: Served, talk: Open, variant: str
) -> None:
    served.change(CDS={"A": "v1"}, EDS={"A": "v1"})
    stream = await opened(talk, variant, "CDS", "EDS")
    await served.answered()
    served.set("CDS", A="v2")
    assert (await stream.take()).resources == {"A": "v2"}
    said = await stream.take()
    assert (said.short, said.resources) == ("EDS", {"A": "v1"})
    await stream.ends_silently()


@pytest.mark.parametrize("variant", ["sotw, separate", "delta, separate"])
async def test_o2_also_where_clusters_and_endpoints_have_streams_of_their_own(
    served: Served, talk: Open, variant: str
) -> None:
    served.change(CDS={"A": "v1", "B": "v1"}, EDS={"A": "v1", "B": "v1"})
    clusters, endpoints = talk(variant, "CDS"), talk(variant, "EDS")
    await clusters.subscribe("*")
    await clusters.collect("AB")
    # Endpoints that are sent before the clusters' answer is read would follow it once more.
    await served.answered()
    await endpoints.subscribe("A", "B")
    await endpoints.collect("AB")
    await served.answered()
    served.set("CDS", A="v2")
    said = await clusters.next()
    await endpoints.heard()
    await clusters.ack(said)
    assert (await endpoints.take()).resources == {"A": "v1"}
    for stream in (clusters, endpoints):
        await stream.ends_silently()


@VARIANT
async def test_o3_routes_follow_a_listener_only_if_they_have_changed(served: Served, talk: Open, variant: str) -> None:
    served.change(LDS={"A": "v1"}, RDS={"A": "v1"})
    stream = await opened(talk, variant, "LDS", "RDS")
    served.set("LDS", A="v2")
    assert (await stream.take()).short == "LDS"
    await stream.heard()
    served.change(LDS={"A": "v3"}, RDS={"A": "v2"})
    assert [(await stream.take()).short for _ in range(2)] == ["LDS", "RDS"]
    await stream.ends_silently()


@VARIANT
async def test_o3_routes_that_this_stream_has_never_had_are_sent_when_they_are_asked_for(
    served: Served, talk: Open, variant: str
) -> None:
    served.change(LDS={"A": "v1"}, RDS={"A": "v1", "B": "v1"})
    stream = await opened(talk, variant, "LDS", "RDS")
    served.set("LDS", A="v2")
    assert (await stream.take()).short == "LDS"
    await stream.subscribe("B", of="RDS")
    assert (await stream.take()).resources["B"] == "v1"
    await stream.ends_silently()


async def on_x(served: Served, talk: Open, variant: str) -> Talk:
    """A stream whose proxy routes to cluster x and has answered everything."""
    routed(served, "x")
    stream = talk(variant, "RTDS")
    await stream.subscribe("*", of="CDS")
    await stream.take()
    for short, name in (("EDS", "x"), ("RDS", "r")):
        await stream.subscribe(name, of=short)
        await stream.take()
    await served.answered()
    return stream


@VARIANT
async def test_o4_a_route_moves_after_its_cluster_has_come_and_before_the_old_one_goes(
    served: Served, talk: Open, variant: str
) -> None:
    stream = await on_x(served, talk, variant)
    routed(served, "y")
    said = await came(stream, "CDS")
    assert "y" in said.resources
    assert "x" in said.resources or (stream.delta and said.removed == ())
    await stream.heard()
    await stream.subscribe("y", of="EDS")
    endpoints = await came(stream, "EDS")
    assert endpoints.resources == {"y": "v1"}
    await stream.ack(said)
    await stream.heard()
    await stream.ack(endpoints)
    route = await came(stream, "RDS")
    assert route.resources == {"r": "y"}
    await stream.heard()
    await stream.ack(route)
    gone = await came(stream, "CDS")
    assert gone.removed == ("x",) if stream.delta else gone.resources == {"y": "v1"}
    await stream.ack(gone)
    if stream.delta:
        lost = await came(stream, "EDS")
        assert lost.removed == ("x",)
        await stream.ack(lost)
    await stream.ends_silently()


async def came(stream: Talk, short: str) -> Said:
    said = await stream.next()
    assert said.short == short
    return said


@VARIANT
async def test_o4_a_route_that_is_refused_keeps_its_cluster(served: Served, talk: Open, variant: str) -> None:
    stream = await on_x(served, talk, variant)
    routed(served, "y")
    await stream.ack(await came(stream, "CDS"))
    await stream.subscribe("y", of="EDS")
    await stream.ack(await came(stream, "EDS"))
    await stream.nack(await came(stream, "RDS"))
    # Whatever follows, the cluster of the route that runs is never taken away.
    await stream.call.done_writing()
    while (message := await stream.call.read()) is not grpc.aio.EOF:
        said = stream._said(message)
        assert "x" not in said.removed
        assert said.short != "CDS" or stream.delta or "x" in said.resources


@pytest.fixture
async def impatient(registry: CollectorRegistry) -> AsyncIterator[tuple[Served, Open]]:
    """A server that waits for a proxy for a fifth of a second only, and streams of it."""
    publisher = Publisher()
    metrics = XdsMetrics(registry)
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1", metrics=metrics, patience=0.2)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        yield (
            Served(publisher),
            lambda variant, short: Talk(channel, short, delta=variant == "delta, ADS", aggregated=True),
        )
    await running.stop(0)


@VARIANT
async def test_o5_a_proxy_that_never_answers_is_waited_for_no_longer_and_counted(
    counted: Counted, variant: str, impatient: tuple[Served, Open]
) -> None:
    served, talk = impatient
    stream = await on_x(served, talk, variant)
    routed(served, "y")
    await came(stream, "CDS")
    assert (await came(stream, "RDS")).resources == {"r": "y"}
    gone = await came(stream, "CDS")
    assert gone.removed == ("x",) if stream.delta else gone.resources == {"y": "v1"}
    assert counted("gate_expirations", type="CDS") >= 1
    stream.call.cancel()


@VARIANT
@pytest.mark.parametrize("linger", [0.2])
async def test_o4_a_cluster_that_no_route_uses_any_more_stays_as_long_as_the_server_is_told(
    variant: str, linger: float
) -> None:
    publisher = Publisher()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1", linger=linger)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        served = Served(publisher)
        stream = await on_x(served, lambda *_: Talk(channel, "RTDS", delta=variant in DELTA, aggregated=True), variant)
        routed(served, "y")
        await stream.ack(await came(stream, "CDS"))
        await stream.subscribe("y", of="EDS")
        await stream.ack(await came(stream, "EDS"))
        route = await came(stream, "RDS")
        before = asyncio.get_running_loop().time()
        await stream.ack(route)
        gone = await came(stream, "CDS")
        assert gone.removed == ("x",) if stream.delta else gone.resources == {"y": "v1"}
        # Never too early, however slow the machine is; there is no bound for too late.
        assert asyncio.get_running_loop().time() - before >= linger
        stream.call.cancel()
    await running.stop(0)


@pytest.mark.parametrize(
    ("needs", "others", "what"),
    [
        ([(CLUSTER, "X")], [(CLUSTER, "x")], "'X', which does not exist"),
        ([(CLUSTER, "x")], [], "'x', which does not exist"),
    ],
    ids=["another name", "none"],
)
def test_o6_a_route_to_a_cluster_that_does_not_exist_is_found_before_it_is_published(
    needs: list[tuple[str, str]], others: list[tuple[str, str]], what: str
) -> None:
    route = Resource.of("r", b"", Origin("edge.yaml", 7), needs=needs)
    listener = Resource.of("l", b"", needs=[(ROUTE, "r")])
    problems = inconsistencies(
        [
            (ROUTE, route),
            (TYPE_URLS["LDS"], listener),
            *((type_url, Resource.of(name, b"")) for type_url, name in others),
        ]
    )
    (problem,) = problems
    assert what in str(problem)
    assert str(problem).startswith("edge.yaml:7: RDS 'r'")


def test_o6_endpoints_and_routes_have_exactly_the_names_that_they_are_asked_for_by() -> None:
    cluster = Resource.of("x", b"", needs=[(ENDPOINT, "x")])
    listener = Resource.of("l", b"", needs=[(ROUTE, "r")])
    fitting = [(CLUSTER, cluster), (TYPE_URLS["LDS"], listener)]
    good = [*fitting, (ENDPOINT, Resource.of("x", b"")), (ROUTE, Resource.of("r", b""))]
    assert inconsistencies(good) == []
    bad = [*fitting, (ENDPOINT, Resource.of("x.", b"")), (ROUTE, Resource.of("R", b""))]
    assert len(inconsistencies(bad)) == 4


@VARIANT
@pytest.mark.parametrize("short", ["SDS", "EDS"])
async def test_o7_o8_what_changes_alone_is_sent_alone(served: Served, talk: Open, variant: str, short: str) -> None:
    types = ("CDS", "EDS", "LDS", "RDS", "SDS")
    served.change(**{each: {"A": "v1"} for each in types})
    stream = await opened(talk, variant, *types)
    for version in ("v2", "v3"):
        served.set(short, A=version)
        said = await stream.take()
        assert (said.short, said.resources, said.removed) == (short, {"A": version}, ())
    await stream.ends_silently()


@cells(("sotw, separate", "delta, separate"), ("CDS", "LDS", "RDS"))
async def test_o7_o8_and_is_not_said_at_all_on_the_streams_of_other_types(
    served: Served, talk: Open, variant: str, short: str
) -> None:
    served.change(**{each: {"A": "v1"} for each in ("CDS", "EDS", "LDS", "RDS", "SDS")})
    stream = talk(variant, short)
    await stream.subscribe("A")
    await stream.take()
    served.set("SDS", A="v2")
    served.set("EDS", A="v2")
    await stream.ends_silently()
