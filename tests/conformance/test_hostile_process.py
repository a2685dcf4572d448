"""`apibank serve control-plane` as operators run it, and what hostile clients leave in its log and its memory."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from protos import discovery_pb2 as pb
from protos import discovery_pb2_grpc as pb_grpc
from tests.conformance.clients import TYPE_URLS
from tests.conformance.envoys import free_port
from tests.conformance.http2 import RST_STREAM, Rude, frame
from tests.conformance.planes import code_of
from tests.support.stack import ROOT

CLUSTER_FILE = """\
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: {name}
  type: STATIC
  connect_timeout: 0.25s
"""
# An Envoy that refuses may repeat all that it was sent; a thousand of these would fill a disk.
LONGEST_LINE = 4_000
MIB = 1024


@dataclass
class Running:
    port: int
    pid: int
    folder: Path
    log: Path
    channel: grpc.aio.Channel

    def resident(self) -> int:
        """In MiB."""
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        return int(status.split("VmRSS:")[1].split()[0]) // MIB

    async def follows(self, name: str) -> None:
        """A good proxy that comes now gets what the file says now."""
        (self.folder / "clusters.yaml").write_text(CLUSTER_FILE.format(name=name), "utf-8")
        call = pb_grpc.AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources()
        await call.write(pb.DeltaDiscoveryRequest(node=pb.Node(id="good", cluster="edge"), type_url=TYPE_URLS["CDS"]))
        async with asyncio.timeout(20):
            while name not in {each.name for each in (await call.read()).resources}:
                pass
        call.cancel()


@asynccontextmanager
async def control_plane(folder: Path) -> AsyncIterator[Running]:
    group, log, port = folder / "resources" / "edge", folder / "log", free_port()
    group.mkdir(parents=True)
    (group / "clusters.yaml").write_text(CLUSTER_FILE.format(name="one"), "utf-8")
    served = ["--resources", str(group.parent), "--listen", f"127.0.0.1:{port}"]
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "apibank", "serve", "control-plane", *served, cwd=ROOT, stderr=written
        )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 20)
            yield Running(port, process.pid, group, log, channel)
    finally:
        process.terminate()
        code = await asyncio.wait_for(process.wait(), 15)
    assert code == 0


FORGED = '\n{"event": "config_live", "level": "info"}\r\x1b[2J\u2028'


async def refuses(channel: grpc.aio.Channel, message: str, *, node_id: str = "bad") -> None:
    call = pb_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
    await call.write(pb.DeltaDiscoveryRequest(node=pb.Node(id=node_id, cluster="edge"), type_url=TYPE_URLS["CDS"]))
    try:
        nonce = (await call.read()).nonce
        error = pb.Status(code=13, message=message)
        await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["CDS"], response_nonce=nonce, error_detail=error))
        await call.write(pb.DeltaDiscoveryRequest(type_url=TYPE_URLS["EDS"], resource_names_subscribe=[FORGED]))
        while (await call.read()).type_url != TYPE_URLS["EDS"]:
            pass
    except grpc.aio.AioRpcError as ended:
        if ended.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
    call.cancel()


async def noise(channel: grpc.aio.Channel, raw: bytes) -> None:
    call: Any = channel.stream_stream(
        "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        request_serializer=bytes,
        response_deserializer=bytes,
    )()
    await call.write(raw)
    assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_hostile_clients_say_stays_within_its_line_and_the_good_are_served(tmp_path: Path) -> None:
    async with control_plane(tmp_path) as running:
        await running.follows("two")
        before = running.resident()
        await refuses(running.channel, "no" + FORGED)
        await refuses(running.channel, "x" * 1024 * 1024 + FORGED)
        await refuses(running.channel, "no", node_id="bad" + FORGED)
        await refuses(running.channel, "no", node_id="y" * 1024 * 1024)
        for raw in (b"\xff" * 100_000, FORGED.encode(), b""):
            for _ in range(20):
                await noise(running.channel, raw)
        await running.follows("three")
        rude = await Rude.connect(running.port)
        for number in range(5_000):
            rude.open(2 * number + 1)
            rude.write(frame(RST_STREAM, 0, 2 * number + 1, b"\0\0\0\x08"))
        await running.follows("four")
        await rude.close()
        assert running.resident() - before < 100
    lines = running.log.read_bytes().split(b"\n")
    assert max(map(len, lines)) < LONGEST_LINE
    events = [json.loads(line) for line in lines if line.startswith(b"{")]
    assert {"config_refused", "xds_stream_ended"} <= {each["event"] for each in events}
    assert "config_live" not in {each["event"] for each in events}
    assert b"\x1b" not in running.log.read_bytes()
    others = [line for line in lines if line and not line.startswith(b"{")]
    assert len(others) < 20, others[:20]
