"""The server beside the protocol: who may speak, what it says of itself, and how it stops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.authority import Authority
from tests.conformance.clients import NODE, TYPE_URLS, Target
from xds import wire
from xds.publisher import Publisher
from xds.server import RunningServer, serve

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
