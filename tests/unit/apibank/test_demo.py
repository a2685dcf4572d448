"""Demo services: they say what reached them, over real connections, and count it."""

import asyncio
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from apibank.demo import demo_listeners
from apibank.demo_orders import Orders
from apibank.probes import answers_http
from apibank.web import WebListener, serve_web
from messaging.bus import Bus, BusLimits
from messaging.memory import MemoryBus


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def serving(listeners: list[WebListener]) -> AsyncIterator[None]:
    stop = asyncio.Event()
    server = asyncio.create_task(serve_web(listeners, stop))
    try:
        async with asyncio.timeout(10):
            for one in listeners:
                while not server.done() and not await answers_http(f"127.0.0.1:{one.port}"):
                    await asyncio.sleep(0.01)
        yield
    finally:
        stop.set()
        await server


@asynccontextmanager
async def demo(*names: str, bus: Bus | None = None) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    ports = {name: free_port() for name in names}
    async with serving(demo_listeners(ports, None if bus is None else Orders(bus))):
        clients = {name: httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") for name, port in ports.items()}
        try:
            yield clients
        finally:
            for client in clients.values():
                await client.aclose()


async def test_an_answer_tells_everything_about_the_request() -> None:
    async with demo("marketing") as services:
        response = await services["marketing"].put(
            "/api/marketing/content/a%2Fb?q=1&q=%20",
            content=b"hello",
            headers=[("X-One", "1"), ("x-one", "2"), ("cookie", "a=1"), ("cookie", "b=2")],
        )
    seen = response.json()
    assert response.status_code == 200
    assert (seen["service"], seen["method"]) == ("marketing", "PUT")
    assert seen["path"] == "/api/marketing/content/a%2Fb?q=1&q=%20"
    assert seen["headers"]["x-one"] == "1, 2"
    assert seen["headers"]["cookie"] == "a=1; b=2"
    assert [value for name, value in seen["header_lines"] if name == "x-one"] == ["1", "2"]
    assert (seen["body_bytes"], seen["body_sha256"]) == (5, hashlib.sha256(b"hello").hexdigest())
    assert "status" not in seen


async def test_hits_are_counted_per_service_and_neither_asking_nor_health_checks_count() -> None:
    async with demo("sales", "education") as services:
        sales, education = services["sales"], services["education"]
        assert (await sales.get("/__hits")).text == "0"
        for method in ("GET", "POST", "HEAD"):
            await sales.request(method, "/api/sales/crm")
        for _ in range(3):
            assert (await sales.get("/healthz")).status_code == 200
        assert (await sales.get("/__hits")).text == "3"
        assert (await education.get("/__hits")).text == "0"


@pytest.mark.requirement("R44")
@pytest.mark.parametrize("service", ["marketing", "education", "sales"])
async def test_work_posted_to_a_service_goes_to_orchestration_under_the_requests_id(service: str) -> None:
    bus = MemoryBus()
    async with demo(service, bus=bus) as services:
        path, headers = f"/api/{service}/x?secret=1", {"x-request-id": "r-1"}
        # An Envoy that tries again sends the same.
        for _ in range(2):
            posted = await services[service].post(path, headers=headers, json={"a": 1})
        other = await services[service].post(path, headers=headers, json={"a": 2})
        unnamed = await services[service].post(f"/api/{service}/x", content=b"no json")
        await services[service].get(path)
    assert (posted.status_code, posted.json()["status"], posted.json()["request_id"]) == (200, "processing", "r-1")
    assert posted.json()["body_sha256"] == hashlib.sha256(b'{"a":1}').hexdigest()
    assert len(unnamed.json()["request_id"]) == 36
    found = [delivery.message for delivery in await bus.receive("orchestration", "one", 10)]
    assert [(one.sender, one.type) for one in found] == [(f"{service}.service", "request.accepted")] * 3
    assert [one.request_id for one in found] == ["r-1", other.json()["request_id"], unnamed.json()["request_id"]]
    said = [json.loads(one.payload) for one in found]
    assert {(one["service"], one["path"]) for one in said} == {(service, f"/api/{service}/x")}
    assert [one["body"] for one in said] == [{"a": 1}, {"a": 2}, None]


async def test_without_orchestration_nothing_is_said_to_be_processed() -> None:
    async with demo("marketing") as services:
        assert "status" not in (await services["marketing"].post("/api/marketing/x", json={})).json()


async def test_what_orchestration_does_not_take_is_refused() -> None:
    async with demo("marketing", bus=MemoryBus(BusLimits(capacity=0))) as services:
        answer = await services["marketing"].post("/api/marketing/x", json={}, headers={"x-request-id": "r-1"})
    assert (answer.status_code, answer.json()["code"], answer.json()["request_id"]) == (503, "queue_full", "r-1")


async def test_headers_as_long_as_envoy_lets_through_are_read() -> None:
    async with demo("agents") as services:
        response = await services["agents"].get("/api/agents/x", headers={"x-long": "a" * 90_000})
    assert len(response.json()["headers"]["x-long"]) == 90_000


async def test_an_address_that_is_taken_is_told_before_anything_is_served() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        listeners = demo_listeners({"sales": free_port(), "agents": holder.getsockname()[1]})
        with pytest.raises(OSError, match="Address already in use"):
            await serve_web(listeners, asyncio.Event())


async def test_what_has_begun_is_finished_when_the_process_is_told_to_stop() -> None:
    port, stop = free_port(), asyncio.Event()
    server = asyncio.create_task(serve_web(demo_listeners({"sales": port}), stop))
    while not await answers_http(f"127.0.0.1:{port}"):
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /api/sales/crm HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(0.05)
    stop.set()
    await asyncio.sleep(0.05)
    writer.write(b"}")
    answer = await reader.read()
    writer.close()
    await server
    assert answer.startswith(b"HTTP/1.1 200")
