"""XDS.md §1 and §8 over real gRPC: status codes, services, access, sizes, and the end of a stream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.authority import Authority
from tests.conformance.clients import NODE, TYPE_URLS, Client, Target
from xds import wire
from xds.publisher import Publisher
from xds.server import RunningServer, serve
from xds.snapshot import SHORT_NAMES

Server = tuple[Publisher, RunningServer]
DIALECTS = pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])


def aggregated(channel: grpc.aio.Channel, delta: bool) -> Any:
    stub = pb_grpc.AggregatedDiscoveryServiceStub(channel)
    return stub.DeltaAggregatedResources() if delta else stub.StreamAggregatedResources()


def request(delta: bool, **fields: Any) -> Any:
    return (pb.DeltaDiscoveryRequest if delta else pb.DiscoveryRequest)(**fields)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    async def drain() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await drain()
    return raised.value.code(), raised.value.details() or ""


@DIALECTS
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"type_url": TYPE_URLS["CDS"]}, None),
        ({"type_url": TYPE_URLS["CDS"], "node": pb.Node(cluster="edge")}, None),
        ({"node": NODE}, None),
        ({"type_url": TYPE_URLS["CDS"], "node": NODE}, {"type_url": TYPE_URLS["CDS"], "node": pb.Node(id="other")}),
    ],
    ids=["s3 no node", "s3 no id", "s4 no type", "s2 another node"],
)
async def test_a_request_that_breaks_the_protocol_ends_its_stream_and_no_other(
    channel: grpc.aio.Channel, target: Target, delta: bool, first: dict[str, Any], second: dict[str, Any] | None
) -> None:
    target.set("CDS", A="v1")
    good, bad = aggregated(channel, delta), aggregated(channel, delta)
    await good.write(request(delta, type_url=TYPE_URLS["CDS"], node=NODE))
    assert await good.read()
    await bad.write(request(delta, **first))
    if second is not None:
        await bad.write(request(delta, **second))
    code, details = await refusal(bad)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details
    target.set("CDS", A="v2")
    assert await good.read()
    good.cancel()


@pytest.mark.parametrize("short", SHORT_NAMES.values())
async def test_s5_every_type_has_a_service_of_its_own_that_serves_no_other(
    channel: grpc.aio.Channel, target: Target, short: str
) -> None:
    target.set(short, A="v1")
    service, methods = wire.SERVICES[TYPE_URLS[short]]
    open_ = channel.stream_stream(
        f"/{service}/Delta{methods}",
        request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
        response_deserializer=pb.DeltaDiscoveryResponse.FromString,
    )
    own, other = open_(), open_()
    await own.write(pb.DeltaDiscoveryRequest(node=NODE, resource_names_subscribe=["A"]))
    assert (await own.read()).type_url == TYPE_URLS[short]
    wrong = TYPE_URLS["CDS" if short != "CDS" else "LDS"]
    await other.write(pb.DeltaDiscoveryRequest(node=NODE, type_url=wrong))
    assert (await refusal(other))[0] is grpc.StatusCode.INVALID_ARGUMENT
    own.cancel()


async def test_virtual_hosts_are_served_incrementally_only(channel: grpc.aio.Channel) -> None:
    service, methods = wire.SERVICES[TYPE_URLS["VHDS"]]
    call = channel.stream_stream(
        f"/{service}/Stream{methods}",
        request_serializer=pb.DiscoveryRequest.SerializeToString,
        response_deserializer=pb.DiscoveryResponse.FromString,
    )()
    assert (await refusal(call))[0] is grpc.StatusCode.UNIMPLEMENTED


@DIALECTS
async def test_s6_an_unknown_type_leaves_the_stream_as_it_is(
    channel: grpc.aio.Channel, target: Target, delta: bool
) -> None:
    target.set("CDS", A="v1")
    call = aggregated(channel, delta)
    await call.write(request(delta, node=NODE, type_url="type.googleapis.com/no.such.Type"))
    await call.write(request(delta, type_url=TYPE_URLS["CDS"]))
    assert (await call.read()).type_url == TYPE_URLS["CDS"]
    call.cancel()


@pytest.mark.parametrize("variant", ["sotw, separate", "sotw, ADS", "delta, separate", "delta, ADS"])
async def test_s11_every_response_names_the_replica(
    connect: Callable[[str], Client], target: Target, variant: str
) -> None:
    target.set("CDS", A="v1")
    client = connect(variant)
    await client.subscribe("CDS")
    assert (await client.next("CDS")).identifier == "replica-1"


async def test_s12_a_first_request_of_many_megabytes_is_read(channel: grpc.aio.Channel, target: Target) -> None:
    target.set("CDS", A="v1")
    call = aggregated(channel, delta=True)
    known = {f"cluster-{number:06}": "0" * 64 for number in range(100_000)}
    await call.write(pb.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["CDS"], initial_resource_versions=known))
    response = await call.read()
    assert [each.name for each in response.resources] == ["A"]
    assert len(response.removed_resources) == 100_000
    call.cancel()


async def test_s12_what_a_client_with_grpcs_usual_limit_could_not_receive_is_not_sent(
    channel: grpc.aio.Channel, target: Target
) -> None:
    target.set("RDS", big="v" * 5_000_000, small="v1")
    call = aggregated(channel, delta=True)
    await call.write(
        pb.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["RDS"], resource_names_subscribe=["big", "small"])
    )
    assert [each.name for each in (await call.read()).resources] == ["small"]
    call.cancel()


async def test_a_message_that_is_no_request_ends_its_stream_only(channel: grpc.aio.Channel, target: Target) -> None:
    target.set("CDS", A="v1")
    service, methods = wire.AGGREGATED
    garbage = channel.stream_stream(f"/{service}/Delta{methods}")()
    await garbage.write(b"\xff\xff\xff\xff")
    assert (await refusal(garbage))[0] is grpc.StatusCode.INVALID_ARGUMENT
    call = aggregated(channel, delta=True)
    await call.write(pb.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["CDS"]))
    assert await call.read()
    call.cancel()


async def test_stopping_ends_every_stream_cleanly(server: Server, channel: grpc.aio.Channel, target: Target) -> None:
    target.set("CDS", A="v1")
    call = aggregated(channel, delta=True)
    await call.write(pb.DeltaDiscoveryRequest(node=NODE, type_url=TYPE_URLS["CDS"]))
    await call.read()
    await server[1].stop(5)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK
    assert server[0].nodes.groups() == []


async def test_health_and_reflection_tell_what_is_served(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ("", wire.AGGREGATED[0], wire.SERVICES[TYPE_URLS["EDS"]][0]):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
    await reflection.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {each.name for each in (await reflection.read()).list_services_response.service}
    assert listed >= {wire.AGGREGATED[0], *(name for name, _ in wire.SERVICES.values())}
    symbol = wire.SERVICES[TYPE_URLS["EDS"]][0]
    await reflection.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=symbol))
    assert (await reflection.read()).file_descriptor_response.file_descriptor_proto
    reflection.cancel()


@pytest.mark.parametrize(
    ("listen", "options"),
    [
        ("0.0.0.0:0", {}),
        ("127.0.0.1:0", {"trust_domain": "bank.test"}),
        ("127.0.0.1:0", {"credentials": grpc.ssl_server_credentials([(b"", b"")])}),
    ],
    ids=["plaintext on all addresses", "a trust domain without TLS", "TLS without a trust domain"],
)
async def test_what_would_let_anybody_in_is_refused_at_start(listen: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="TLS"):
        await serve(Publisher(), listen, identifier="r", **options)


async def test_a_taken_port_is_an_error(server: Server) -> None:
    with pytest.raises(RuntimeError):
        await serve(Publisher(), f"127.0.0.1:{server[1].port}", identifier="r")


@pytest.fixture
def authority() -> Authority:
    return Authority()


@pytest.fixture
async def guarded(authority: Authority) -> AsyncIterator[tuple[Publisher, RunningServer]]:
    credentials = grpc.ssl_server_credentials(
        [authority.issue("localhost")], authority.certificate, require_client_auth=True
    )
    publisher = Publisher()
    running = await serve(publisher, "127.0.0.1:0", identifier="r", credentials=credentials, trust_domain="bank.test")
    Target(publisher).set("CDS", A="v1")
    yield publisher, running
    await running.stop(0)


def as_client(port: int, authority: Authority, issuer: Authority, identity: str | None) -> grpc.aio.Channel:
    key, certificate = issuer.issue(identity) if identity else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate, key, certificate)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def ask(channel: grpc.aio.Channel, node: pb.Node) -> Any:
    call = aggregated(channel, delta=True)
    try:
        await call.write(pb.DeltaDiscoveryRequest(node=node, type_url=TYPE_URLS["CDS"]))
        return await call.read()
    finally:
        call.cancel()


@pytest.mark.parametrize("identity", ["spiffe://bank.test/gateway/edge", "spiffe://bank.test/gateway/edge/edge-1"])
async def test_a_node_with_its_own_certificate_is_served(guarded: Server, authority: Authority, identity: str) -> None:
    async with as_client(guarded[1].port, authority, authority, identity) as channel:
        assert [each.name for each in (await ask(channel, NODE)).resources] == ["A"]


@pytest.mark.parametrize(
    "identity", ["spiffe://bank.test/gateway/other", "spiffe://bank.test/gateway/edge/edge-2", "edge.bank.test"]
)
async def test_a_node_with_another_ones_certificate_gets_permission_denied_and_nothing_else(
    guarded: Server, authority: Authority, identity: str
) -> None:
    async with as_client(guarded[1].port, authority, authority, identity) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(channel, NODE)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert guarded[0].nodes.groups() == []


@pytest.mark.parametrize("stranger", [True, False], ids=["of another authority", "without a certificate"])
async def test_a_client_whose_certificate_nobody_vouches_for_does_not_get_through_the_handshake(
    guarded: Server, authority: Authority, stranger: bool
) -> None:
    identity = "spiffe://bank.test/gateway/edge" if stranger else None
    async with as_client(guarded[1].port, authority, Authority(), identity) as channel:
        with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)) as raised:
            await ask(channel, NODE)
    if isinstance(raised.value, grpc.aio.AioRpcError):
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert guarded[0].nodes.groups() == []
