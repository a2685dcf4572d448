"""XDS.md §8, "Who may connect": over mTLS the certificate says which node a stream may be of, on every service."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos import csds_pb2, lrs_pb2
from protos import discovery_pb2 as pb
from tests.conformance.access import EDGE, GATEWAY, OTHER, UNKNOWN, Plane, ask, denial, secured
from tests.conformance.authority import Authority
from tests.conformance.clients import TYPE_URLS, Target
from xds import wire
from xds.client_status.wire import SERVICE as CLIENT_STATUS
from xds.load_reports.wire import SERVICE as LOAD_REPORTS
from xds.publisher import Publisher
from xds.server import serve


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    async with secured() as started:
        yield started


def services() -> list[tuple[str, str, str]]:
    """Type, service and method of everything that discovers."""
    kinds = [("CDS", *wire.AGGREGATED)]
    kinds += [(short, *wire.SERVICES[type_url]) for short, type_url in TYPE_URLS.items()]
    return [
        (short, service, dialect + methods)
        for short, service, methods in kinds
        for dialect in ("Delta", "Stream")
        if dialect == "Delta" or TYPE_URLS[short] not in wire.DELTA_ONLY
    ]


@pytest.mark.parametrize(("short", "service", "method"), services())
async def test_every_service_serves_a_node_by_its_certificate_and_no_other_node(
    plane: Plane, short: str, service: str, method: str
) -> None:
    async with plane.channel(f"{GATEWAY}/edge/edge-1") as channel:
        assert (await ask(channel, EDGE, short, service, method)).resources
        assert (await denial(channel, OTHER, short, service, method))[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.attack("A73")
@pytest.mark.parametrize(
    "identity",
    [
        f"{GATEWAY}/sales",
        f"{GATEWAY}/edge/edge-2",
        f"{GATEWAY}/edge/edge-1/x",
        f"{GATEWAY}/",
        "spiffe://bank.test/operator",
        "spiffe://elsewhere.test/gateway/edge",
        "edge",
    ],
)
async def test_another_identity_gets_permission_denied(plane: Plane, identity: str) -> None:
    async with plane.channel(identity) as channel:
        assert (await denial(channel, EDGE))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert plane.publisher.nodes.groups() == []
    assert plane.registry.get_sample_value("apibank_xds_denied_streams_total", {"status": "PERMISSION_DENIED"}) == 1


async def test_a_denial_does_not_tell_whether_there_is_such_a_group_or_node(plane: Plane) -> None:
    async with plane.channel(f"{GATEWAY}/edge") as channel:
        texts = {await denial(channel, node) for node in (OTHER, UNKNOWN, pb.Node(id="edge-1", cluster=""))}
    assert len(texts) == 1
    ((_, text),) = texts
    assert "sales" not in text


@pytest.mark.attack("A73")
async def test_a_stream_cannot_become_another_nodes_even_of_the_same_group(plane: Plane) -> None:
    async with plane.channel(f"{GATEWAY}/edge") as channel:
        call = channel.stream_stream(
            f"/{wire.AGGREGATED[0]}/DeltaAggregatedResources",
            request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )()
        await call.write(pb.DeltaDiscoveryRequest(node=EDGE, type_url=TYPE_URLS["CDS"]))
        assert (await call.read()).resources
        await call.write(pb.DeltaDiscoveryRequest(node=pb.Node(id="edge-2", cluster="edge"), type_url=TYPE_URLS["LDS"]))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call.read()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.attack("A73")
@pytest.mark.parametrize("who", ["of another authority", "without a certificate", "without TLS"])
async def test_whoever_is_not_vouched_for_does_not_get_through_the_handshake(plane: Plane, who: str) -> None:
    if who == "without TLS":
        channel = grpc.aio.insecure_channel(f"localhost:{plane.port}")
    else:
        channel = plane.channel(f"{GATEWAY}/edge" if "authority" in who else None, Authority())
    async with channel:
        with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)) as raised:
            await ask(channel, EDGE, "CDS", wire.AGGREGATED[0], "DeltaAggregatedResources")
    if isinstance(raised.value, grpc.aio.AioRpcError):
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert plane.publisher.nodes.groups() == []
    # Nothing of it has reached a service.
    assert plane.registry.get_sample_value("apibank_xds_admission_wait_seconds_count") == 0


async def test_a_node_reports_only_its_own_load(plane: Plane) -> None:
    async with plane.channel(f"{GATEWAY}/edge") as channel:

        def report(node: pb.Node) -> Any:
            call = channel.stream_stream(
                f"/{LOAD_REPORTS}/StreamLoadStats",
                request_serializer=lrs_pb2.LoadStatsRequest.SerializeToString,
                response_deserializer=lrs_pb2.LoadStatsResponse.FromString,
            )()
            return call, lrs_pb2.LoadStatsRequest(node={"id": node.id, "cluster": node.cluster})

        own, first = report(EDGE)
        await own.write(first)
        assert await asyncio.wait_for(own.read(), 5)
        others, first = report(OTHER)
        await others.write(first)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await asyncio.wait_for(others.read(), 5)
        assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
        own.cancel()


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [("spiffe://bank.test/operator", True), (f"{GATEWAY}/edge", False)],
    ids=["operator", "node"],
)
async def test_what_all_proxies_run_is_shown_to_operators_only(plane: Plane, identity: str, allowed: bool) -> None:
    async with plane.channel(identity) as channel:
        fetch = channel.unary_unary(
            f"/{CLIENT_STATUS}/FetchClientStatus",
            request_serializer=csds_pb2.ClientStatusRequest.SerializeToString,
            response_deserializer=csds_pb2.ClientStatusResponse.FromString,
        )
        if allowed:
            assert await fetch(csds_pb2.ClientStatusRequest()) is not None
            return
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await fetch(csds_pb2.ClientStatusRequest())
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_unix_socket_goes_without_tls(tmp_path: Path) -> None:
    publisher = Publisher()
    Target(publisher).set("CDS", A="v1")
    running = await serve(publisher, f"unix:{tmp_path}/xds.sock", identifier="r")
    assert running.port == 0
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/xds.sock") as channel:
        assert (await ask(channel, EDGE, "CDS", wire.AGGREGATED[0], "DeltaAggregatedResources")).resources
    await running.stop(0)
