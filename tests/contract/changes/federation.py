"""One control plane with its database, its folder of policies, its control API and Envoys that speak real gRPC."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from apibank.drafts import Linter
from apibank.linter import complaints_of
from apibank.plane import Plane
from apibank.policies import PolicyFolder
from apibank.policy_gate import PolicyGate
from portal.control_api import control_app
from protos import discovery_pb2 as pb
from records.database import Database
from xds import wire
from xds.load_reports.reports import Traffic
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.server import serve
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE

SECRET = "a-secret-of-the-control-plane"
POLICY = """\
gateway: shop
description: A gateway for tests.
owners: [team-shop]
callers: {partners: true}
tiers: [free]
services:
  authz: {endpoint: "127.0.0.1:AUTHZ"}
  ratelimit: {endpoint: "127.0.0.1:1"}
upstreams:
  shop: {endpoints: ["127.0.0.1:9001"]}
  names: {endpoints: ["shop.example:80"]}
listeners:
  mesh: {address: "127.0.0.1:9000"}
limits:
  flood: {requests: 100, unit: minute, per: address}
defaults:
  methods: {GET: read}
  limits: [flood]
routes:
  items: {path: /items, access: public, upstream: shop}
  named: {path: /named, access: public, upstream: names}
"""


class TrafficFigures:
    """Requests and errors that proxies report, as a test says (the port `TrafficReports`)."""

    def __init__(self) -> None:
        self.figures: dict[str, Traffic] = {}

    @contextmanager
    def watch(self, group: str, interval: float) -> Any:
        yield

    def totals(self, group: str) -> Mapping[str, Traffic]:
        return dict(self.figures)


class Envoy:
    """A proxy that subscribes to everything it is told of, and refuses what it is told to refuse."""

    def __init__(self, channel: grpc.aio.Channel, node: str, group: str = "shop") -> None:
        self.node = pb.Node(id=node, cluster=group)
        self.has: dict[tuple[str, str], bytes] = {}
        self.refuses: dict[str, bytes] = {}
        self.says = ""
        self._call = channel.stream_stream(
            f"/{wire.AGGREGATED[0]}/Delta{wire.AGGREGATED[1]}",
            request_serializer=pb.DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=pb.DeltaDiscoveryResponse.FromString,
        )(wait_for_ready=True)
        self._reading = asyncio.create_task(self._read())

    def refuse(self, type_url: str, holding: bytes, saying: str = "the bytes are not to my taste") -> None:
        """From now on, whatever of this type holds these bytes."""
        self.refuses[type_url] = holding
        self.says = saying

    async def close(self) -> None:
        self._call.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        for type_url in (CLUSTER, LISTENER):
            await self._call.write(pb.DeltaDiscoveryRequest(node=self.node, type_url=type_url))
        while isinstance(message := await self._call.read(), pb.DeltaDiscoveryResponse):
            answer = pb.DeltaDiscoveryRequest(type_url=message.type_url, response_nonce=message.nonce)
            bad = self.refuses.get(message.type_url)
            if bad and any(bad in each.resource.value for each in message.resources):
                answer.error_detail.code = 13
                answer.error_detail.message = self.says
            else:
                for each in message.resources:
                    self.has[message.type_url, each.name] = each.resource.value
                for name in message.removed_resources:
                    self.has.pop((message.type_url, name), None)
            await self._call.write(answer)
            await self._ask_for_more(message)

    async def _ask_for_more(self, message: Any) -> None:
        """Routes of new listeners, and endpoints of new clusters, as names that are equal here."""
        names = [each.name for each in message.resources]
        if message.type_url == LISTENER and names:
            await self._call.write(pb.DeltaDiscoveryRequest(type_url=ROUTE, resource_names_subscribe=names))
        by_eds = [name for name in names if "/" not in name and name != "names"]
        if message.type_url == CLUSTER and by_eds:
            await self._call.write(pb.DeltaDiscoveryRequest(type_url=ENDPOINT, resource_names_subscribe=by_eds))


class Authorization(health.aio.HealthServicer):  # type: ignore[name-defined,misc]
    """Authorization's health: it knows every version, unless it is told that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.knows = True
        self.asked: list[str] = []

    async def Check(self, request: Any, context: Any) -> Any:
        self.asked.append(request.service)
        states = health_pb2.HealthCheckResponse
        return states(status=states.SERVING if self.knows else states.NOT_SERVING)


class Running:
    """A control plane that runs, and what a test needs of it."""

    def __init__(
        self,
        plane: Plane,
        publisher: Publisher,
        folder: Path,
        port: int,
        api: httpx2.AsyncClient,
        traffic: TrafficFigures,
        app: ASGIApp,
    ) -> None:
        self.plane, self.publisher, self.folder, self.api, self.traffic = plane, publisher, folder, api, traffic
        self.app = app
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._envoys: list[Envoy] = []

    async def envoy(self, node: str) -> Envoy:
        """One more proxy, which runs what it shall."""
        envoy = Envoy(self._channel, node)
        self._envoys.append(envoy)
        await self.until(lambda: node in self.publisher.nodes.ids("shop"))
        await self.until(lambda: node not in self.state["behind"])
        return envoy

    @property
    def state(self) -> dict[str, Any]:
        (one,) = (one for one in self.plane.states.gateways() if one.gateway == "shop")
        return {name: getattr(one, name) for name in one.__slots__}

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(15):
            while not holds():
                await asyncio.sleep(0.02)

    async def ended(self, revision: int) -> dict[str, Any]:
        """The rollout, once it has."""
        async with asyncio.timeout(20):
            while True:
                shown = (await self.api.get(f"/v1/policies/rollouts/{revision}")).json()
                if shown["result"] != "running":
                    return dict(shown)
                await asyncio.sleep(0.02)

    async def history(self) -> list[dict[str, Any]]:
        await self.until(lambda: self.plane.journal.waiting == 0)
        return list((await self.api.get("/v1/policies/history")).json())

    async def close(self) -> None:
        for envoy in self._envoys:
            await envoy.close()
        await self._channel.close(None)


@asynccontextmanager
async def running(
    folder: Path, database: str, linter: Linter = complaints_of, gate: PolicyGate | None = None
) -> AsyncIterator[Running]:
    """A control plane over this folder and this database, until left as if its process ended."""
    publisher, traffic, registry = Publisher(), TrafficFigures(), CollectorRegistry()
    metrics, stop = XdsMetrics(registry), asyncio.Event()
    async with Database(database) as records:
        plane = Plane.of(PolicyFolder(folder, ()), publisher, records, traffic, metrics, registry, linter, gate)
        app = control_app(plane.states, None, lambda: SECRET, plane.desk, plane.hosts)  # type: ignore[arg-type]
        await plane.restore()
        server = await serve(publisher, "127.0.0.1:0", identifier="replica-1", metrics=metrics)
        serving = asyncio.create_task(plane.run(stop))
        headers = {"authorization": f"Bearer {SECRET}", "x-apibank-author": "ana"}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as api:
            one = Running(plane, publisher, folder, server.port, api, traffic, app)
            try:
                yield one
            finally:
                await one.close()
                await plane.close()
                stop.set()
                await serving
                await server.stop(0)


@asynccontextmanager
async def authorization() -> AsyncIterator[tuple[Authorization, int]]:
    """Authorization's health on a free port."""
    servicer, server = Authorization(), grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield servicer, port
    finally:
        await server.stop(0)
