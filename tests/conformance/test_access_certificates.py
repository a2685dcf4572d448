"""XDS.md §8, "Who may connect": certificates that look almost as they should, and names of other gateways."""

import asyncio
import datetime
from collections.abc import AsyncIterator

import grpc
import pytest

from protos import discovery_pb2 as pb
from tests.conformance.access import EDGE, GATEWAY, OTHER, Plane, ask, denial, secured
from tests.conformance.authority import Authority
from tests.conformance.clients import TYPE_URLS
from xds import wire

HOUR = datetime.timedelta(hours=1)
ADS = ("CDS", wire.AGGREGATED[0], "DeltaAggregatedResources")


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with secured() as started:
        yield started


async def stays_outside(plane: Plane, key: bytes, certificate: bytes) -> None:
    """It does not get through the handshake, and somebody good does."""
    async with plane.channel_with(key, certificate) as channel:
        with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)) as raised:
            await ask(channel, EDGE, *ADS)
    if isinstance(raised.value, grpc.aio.AioRpcError):
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert plane.registry.get_sample_value("apibank_xds_admission_wait_seconds_count") == 0
    async with plane.channel(f"{GATEWAY}/edge") as channel:
        assert (await ask(channel, EDGE, *ADS)).resources


@pytest.mark.parametrize("begins", [-3 * HOUR, HOUR], ids=["no longer", "not yet"])
async def test_a_certificate_counts_only_while_it_is_valid(plane: Plane, begins: datetime.timedelta) -> None:
    await stays_outside(plane, *plane.authority.issue(f"{GATEWAY}/edge", begins=begins))


async def test_an_authority_of_the_same_name_is_another_one(plane: Plane) -> None:
    await stays_outside(plane, *Authority("test authority").issue(f"{GATEWAY}/edge"))


async def test_a_certificate_that_is_not_the_keys_is_nobodys(plane: Plane) -> None:
    _, certificate = plane.authority.issue(f"{GATEWAY}/edge")
    key, _ = plane.authority.issue(f"{GATEWAY}/edge")
    with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
        await asks(plane, key, certificate)
    assert plane.publisher.nodes.groups() == []


async def asks(plane: Plane, key: bytes, certificate: bytes) -> None:
    async with plane.channel_with(key, certificate) as channel:
        assert (await ask(channel, EDGE, *ADS)).resources


@pytest.mark.parametrize(
    "identities",
    [
        (f"{GATEWAY}/*",),
        (f"{GATEWAY}/edge/*",),
        (f"{GATEWAY}/edg?",),
        (f"{GATEWAY}/ed",),
        (f"{GATEWAY}/edge1",),
        (f"{GATEWAY}/edge/",),
        (f"{GATEWAY}//edge",),
        (f"{GATEWAY}/./edge",),
        (f"{GATEWAY}/sales/../edge",),
        (f"{GATEWAY}/edge%2Fedge-1",),
        (f"{GATEWAY}/%65dge",),
        (f"{GATEWAY}/edge?x",),
        (f"{GATEWAY}/edge#x",),
        (f"{GATEWAY}/EDGE",),
        (f"{GATEWAY}/edge\n",),
        ("SPIFFE://bank.test/gateway/edge",),
        ("spiffe://BANK.TEST/gateway/edge",),
        ("spiffe://bank.test:443/gateway/edge",),
        ("spiffe://bank.test.evil.test/gateway/edge",),
        ("spiffe://evil.test/spiffe://bank.test/gateway/edge",),
        ("https://bank.test/gateway/edge",),
        ("*",),
        ("*.bank.test", "edge", "edge-1"),
        (f"{GATEWAY}/sales", f"{GATEWAY}/sales/edge-1", "spiffe://bank.test/operator"),
    ],
    ids=str,
)
async def test_an_identity_is_compared_as_a_whole_and_not_read(plane: Plane, identities: tuple[str, ...]) -> None:
    async with plane.channel_with(*plane.authority.issue(*identities)) as channel:
        assert (await denial(channel, EDGE))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert plane.publisher.nodes.groups() == []


async def test_a_common_name_is_no_identity(plane: Plane) -> None:
    for identities in ((), ("edge",)):
        issued = plane.authority.issue(*identities, subject=f"{GATEWAY}/edge")
        async with plane.channel_with(*issued) as channel:
            assert (await denial(channel, EDGE))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "node",
    [
        pb.Node(id="edge-1", cluster="edge/edge-1"),
        pb.Node(id="../edge-1", cluster="edge"),
        pb.Node(id="edge-1", cluster="*"),
        pb.Node(id="*", cluster="edge"),
        pb.Node(id="edge-1/", cluster="edge"),
        pb.Node(id="edge-1", cluster="edge "),
        pb.Node(id="", cluster="edge"),
        pb.Node(id="edge-1", cluster=""),
    ],
    ids=str,
)
async def test_nor_is_what_a_node_says_of_itself(plane: Plane, node: pb.Node) -> None:
    async with plane.channel(f"{GATEWAY}/edge/edge-1") as channel:
        code, _ = await denial(channel, node)
    assert code in {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT}
    assert plane.publisher.nodes.groups() == []


async def test_one_of_several_identities_is_enough_for_its_own_node_only(plane: Plane) -> None:
    async with plane.channel_with(*plane.authority.issue("edge.bank.test", f"{GATEWAY}/edge")) as channel:
        assert (await ask(channel, EDGE, *ADS)).resources
        assert (await denial(channel, OTHER))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("short", sorted(TYPE_URLS))
async def test_names_of_another_gateway_do_not_exist(plane: Plane, short: str) -> None:
    """They are answered like any name that nothing bears, so that nobody learns that they are there."""
    names = [f"sales/{short}", "sales/*", f"xdstp://bank.test/sales/{short}", f"../sales/{short}", "no such thing"]
    async with plane.channel(f"{GATEWAY}/edge") as channel:
        call = channel.stream_stream(
            f"/{wire.AGGREGATED[0]}/DeltaAggregatedResources",
            request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )()
        request = pb.DeltaDiscoveryRequest(node=EDGE, type_url=TYPE_URLS[short])
        request.resource_names_subscribe.extend([*names, "A"])
        await call.write(request)
        said: set[str] = set()
        while not said >= {*names, "A"}:
            response = await asyncio.wait_for(call.read(), 5)
            assert b"of sales" not in response.SerializeToString()
            said |= {each.name for each in response.resources} | set(response.removed_resources)
        call.cancel()
