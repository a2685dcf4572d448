"""A control plane over mTLS that serves two groups, and whoever connects to it with a certificate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from protos import discovery_pb2 as pb
from tests.conformance.authority import Authority
from tests.conformance.clients import TYPE_URLS, Target
from xds import wire
from xds.load_reports.reports import LoadReports
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import serve
from xds.snapshot import Resource, Snapshot

GATEWAY = "spiffe://bank.test/gateway"
EDGE = pb.Node(id="edge-1", cluster="edge")
OTHER = pb.Node(id="sales-1", cluster="sales")
UNKNOWN = pb.Node(id="edge-1", cluster="nobody-has-heard-of-it")


@dataclass
class Plane:
    publisher: Publisher
    port: int
    authority: Authority
    registry: CollectorRegistry
    reports: LoadReports

    def channel(self, identity: str | None, issuer: Authority | None = None) -> grpc.aio.Channel:
        """As whoever has this identity, from the server's own authority or another one; None has no certificate."""
        return self.channel_with(*((issuer or self.authority).issue(identity) if identity else (None, None)))

    def channel_with(self, key: bytes | None, certificate: bytes | None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(self.authority.certificate, key, certificate)
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials)


@asynccontextmanager
async def secured() -> AsyncIterator[Plane]:
    authority, publisher, registry, reports = Authority(), Publisher(), CollectorRegistry(), LoadReports()
    target = Target(publisher)
    for short in TYPE_URLS:
        target.set(short, A="v1")
    own = [(type_url, Resource.of(f"sales/{short}", b"of sales alone")) for short, type_url in TYPE_URLS.items()]
    publisher.set_snapshot("sales", Snapshot.of([*(publisher.snapshot("edge") or ()), *own]))
    running = await serve(
        publisher,
        "127.0.0.1:0",
        identifier="r",
        credentials=grpc.ssl_server_credentials(
            [authority.issue("localhost")], authority.certificate, require_client_auth=True
        ),
        trust_domain="bank.test",
        metrics=XdsMetrics(registry),
        load_reports=reports,
    )
    yield Plane(publisher, running.port, authority, registry, reports)
    await running.stop(0)


async def ask(channel: grpc.aio.Channel, node: pb.Node, short: str, service: str, method: str) -> Any:
    """The first response; raises the status of the stream where there is none."""
    request, response, names = (
        (pb.DeltaDiscoveryRequest, pb.DeltaDiscoveryResponse, "resource_names_subscribe")
        if method.startswith("Delta")
        else (pb.DiscoveryRequest, pb.DiscoveryResponse, "resource_names")
    )
    call = channel.stream_stream(
        f"/{service}/{method}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )()
    try:
        await call.write(request(node=node, type_url=TYPE_URLS[short], **{names: ["A"]}))
        return await asyncio.wait_for(call.read(), 5)
    finally:
        call.cancel()


async def denial(channel: grpc.aio.Channel, node: pb.Node, *what: str) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await ask(channel, node, *(what or ("CDS", wire.AGGREGATED[0], "DeltaAggregatedResources")))
    return raised.value.code(), raised.value.details() or ""
