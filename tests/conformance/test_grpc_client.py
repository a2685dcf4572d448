"""grpcio's own xDS client through this control plane, with the resources of docs/operate/grpc-clients.md."""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry

from apibank.plain_resources import follow_resources
from policy.problem import Source
from xds.metrics import XdsMetrics
from xds.nodes import NodeStatus
from xds.publisher import Publisher
from xds.resources_dir import read_group
from xds.server import serve
from xds.snapshot import ROUTE, Resource, Snapshot

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "grpc-clients.md"
METHOD = "/test.Greeter/Hello"
PORT = 50051
# gRPC reads its bootstrap once, so the client is a process of its own. It calls once for each line that it is told.
CALLER = f"""
import sys, grpc
with grpc.insecure_channel("xds:///greeter") as channel:
    call = channel.unary_unary("{METHOD}")
    for line in sys.stdin.buffer:
        try:
            said = call(line.strip(), timeout=10, wait_for_ready=True).decode()
        except grpc.RpcError as error:
            said = "FAILED " + str(error.code()) + " " + error.details()
        print(said.replace(chr(10), " "), flush=True)
"""


def written(language: str) -> str:
    """The page's first block in this language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def resources(*ports: int) -> str:
    """The page's resources with these endpoints."""
    text = written("yaml")
    (line,) = re.findall(rf"^ +- endpoint: .*{PORT}.*\n", text, re.MULTILINE)
    return text.replace(line, "".join(line.replace(str(PORT), str(port)) for port in ports))


@contextlib.asynccontextmanager
async def greeter(name: str) -> AsyncIterator[int]:
    """A gRPC service that says who it is; the value is its port."""

    async def hello(request: bytes, context: Any) -> bytes:
        return name.encode() + b" greets " + request

    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(hello)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Greeter", {"Hello": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@dataclass(frozen=True)
class Federation:
    """A control plane over a folder, which this changes as an operator would."""

    folder: Path
    publisher: Publisher
    registry: CollectorRegistry
    port: int

    def write(self, *ports: int) -> None:
        """The page's resources with these endpoints."""
        file = self.folder / "callers" / "greeter.yaml"
        file.parent.mkdir(exist_ok=True)
        file.with_suffix(".new").write_text(resources(*ports), encoding="utf-8")
        file.with_suffix(".new").rename(file)

    def status(self) -> NodeStatus:
        (status,) = self.publisher.nodes.status("callers")
        return status

    async def live(self, since: str) -> None:
        """Until the client runs another snapshot than this one."""
        async with asyncio.timeout(10):
            while self.version() == since:
                await asyncio.sleep(0.02)
        liveness = await self.publisher.wait_live("callers", self.version(), within=10)
        assert liveness.complete, liveness

    def version(self) -> str:
        snapshot = self.publisher.snapshot("callers")
        return snapshot.version if snapshot else ""

    def oversized(self) -> float:
        return self.registry.get_sample_value("apibank_xds_oversized_total", {"type": "RDS"}) or 0.0


@pytest.fixture
async def federation(tmp_path: Path) -> AsyncIterator[Federation]:
    publisher, stop, registry = Publisher(), asyncio.Event(), CollectorRegistry()
    running = await serve(publisher, "127.0.0.1:0", identifier="replica-1", metrics=XdsMetrics(registry))
    folder = tmp_path / "resources"
    folder.mkdir()
    following = asyncio.create_task(follow_resources(folder, publisher, stop))
    yield Federation(folder, publisher, registry, running.port)
    stop.set()
    await following
    await running.stop(0)


class Caller:
    """The client's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(self) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"you\n")
        async with asyncio.timeout(15):
            return (await self._process.stdout.readline()).decode().strip()

    async def calls(self, count: int) -> set[str]:
        return {await self.call() for _ in range(count)}


@contextlib.asynccontextmanager
async def caller(federation: Federation) -> AsyncIterator[Caller]:
    bootstrap = json.loads(written("json"))
    bootstrap["xds_servers"][0]["server_uri"] = f"127.0.0.1:{federation.port}"
    file = federation.folder.parent / "bootstrap.json"
    file.write_text(json.dumps(bootstrap))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CALLER,
        env={"GRPC_XDS_BOOTSTRAP": str(file)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Caller(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def test_a_grpc_client_finds_its_service_and_follows_the_endpoints(federation: Federation) -> None:
    async with greeter("one") as one, greeter("two") as two, caller(federation) as client:
        federation.write(one)
        assert await client.calls(3) == {"one greets you"}
        status = federation.status()
        assert (status.node.id, status.node.cluster) == ("caller-1", "callers")
        assert status.node.user_agent.startswith("gRPC")
        first = federation.version()
        federation.write(two)
        said = set()
        async with asyncio.timeout(10):
            while "two greets you" not in said:
                said.add(await client.call())
        assert said <= {"one greets you", "two greets you"}
        await federation.live(first)
        assert await client.calls(5) == {"two greets you"}


async def test_no_call_fails_while_endpoints_move_to_and_fro(federation: Federation) -> None:
    async with greeter("one") as one, greeter("two") as two, caller(federation) as client:
        federation.write(one)
        said = await client.calls(1)
        for ports in ((one, two), (two,), (two, one), (one,), (two,)):
            before = federation.version()
            federation.write(*ports)
            moved = asyncio.create_task(federation.live(before))
            while not moved.done():
                said |= await client.calls(5)
            await moved
        assert said == {"one greets you", "two greets you"}


def too_large(snapshot: Snapshot) -> Snapshot:
    """With 5 MB more in the route configuration: its field 3, a list of header names, in the wire format."""
    size = 5_000_000
    names = b"\x1a" + bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21)) + b"x" * size
    return Snapshot.of(
        (type_url, Resource.of(each.name, each.body + names) if type_url == ROUTE else each)
        for type_url, each in snapshot
    )


async def test_what_a_grpc_client_could_not_receive_is_not_sent_and_the_rest_goes_on(federation: Federation) -> None:
    async with greeter("one") as one, greeter("two") as two, caller(federation) as client:
        federation.write(one)
        assert await client.calls(2) == {"one greets you"}
        federation.publisher.set_snapshot("callers", too_large(read_group([Source("greeter.yaml", resources(two))])))
        said = set()
        async with asyncio.timeout(20):
            while not (federation.oversized() and "two greets you" in said):
                said.add(await client.call())
        assert said <= {"one greets you", "two greets you"}
        (refused,) = federation.publisher.rolled_back("callers")
        assert (refused.type_url, refused.name, refused.nodes) == (ROUTE, "greeter", ("caller-1",))
        assert "bytes exceed" in refused.message
