"""Messages of agents: onto the bus under the name of who signed them, once each, and refused where that cannot be."""

import json

import httpx2
import pytest
from fastapi import FastAPI

from messaging.bus import Bus, BusAwayError, BusLimits, Depth, Message, Receipt
from messaging.memory import MemoryBus
from portal.messages_api import message_routes
from portal.refusals import refusals_are_problems

AGENTS = frozenset({"vision", "memory"})
SENT = {"id": "m-1", "type": "task.created", "sender": "vision", "recipient": "memory", "payload": {"text": "größer"}}
TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


class AwayBus(MemoryBus):
    async def publish(self, message: Message) -> Receipt:
        raise BusAwayError("gone")

    async def depth(self, recipient: str) -> Depth:
        raise BusAwayError("gone")


def client(bus: Bus) -> httpx2.AsyncClient:
    application = FastAPI()
    application.include_router(message_routes(bus, lambda: AGENTS))
    refusals_are_problems(application)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="http://engine")


async def post(bus: Bus, body: object, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"x-waooaw-agent": "vision", "x-request-id": "r-1", **{k.replace("_", "-"): v for k, v in headers.items()}}
    async with client(bus) as engine:
        return await engine.post("/api/agents/orchestration", content=content, headers=sent)


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, object] = answer.json()
    assert (answer.status_code, body["code"], body["request_id"]) == (status, code, "r-1")
    return body


@pytest.mark.requirement("R62")
async def test_a_message_waits_for_its_recipient_under_the_name_of_its_signer() -> None:
    bus = MemoryBus()
    answer = await post(bus, SENT, traceparent=TRACE)
    assert (answer.status_code, answer.json()) == (200, {"status": "processing", "request_id": "r-1"})
    (delivery,) = await bus.receive("memory", "one")
    assert delivery.message == Message(
        "m-1", "task.created", "vision", "memory", '{"text":"größer"}'.encode(), "r-1", TRACE
    )


async def test_the_same_message_again_is_answered_the_same_and_waits_once() -> None:
    bus = MemoryBus()
    first, again = await post(bus, SENT), await post(bus, SENT)
    assert first.json() == again.json()
    assert (await bus.depth("memory")).waiting == 1


async def test_a_request_without_an_id_gets_one_and_a_trace_that_is_none_is_left_out() -> None:
    bus = MemoryBus()
    async with client(bus) as engine:
        headers = {"x-waooaw-agent": "vision", "traceparent": "x" * 5000}
        answer = await engine.post("/api/agents/vision", json=SENT, headers=headers)
    (delivery,) = await bus.receive("memory", "one")
    assert len(answer.json()["request_id"]) == 36
    assert (delivery.message.request_id, delivery.message.traceparent) == (answer.json()["request_id"], "")


@pytest.mark.requirement("R62")
@pytest.mark.parametrize("signer", ["memory", "", "platform.host"])
async def test_the_body_never_decides_who_sent_it(signer: str) -> None:
    bus = MemoryBus()
    refused(await post(bus, SENT, x_waooaw_agent=signer), 403, "sender_mismatch")
    assert (await bus.depth("memory")).waiting == 0


async def test_nobody_can_speak_as_the_platform() -> None:
    body = {**SENT, "sender": "platform.host", "type": "agent.restart"}
    refused(await post(MemoryBus(), body, x_waooaw_agent="platform.host"), 400, "message_invalid")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": "a b"}, "/id"),
        ({"id": ...}, "/id"),
        ({"type": "Task"}, "/type"),
        ({"recipient": "platform.host"}, "/recipient"),
        ({"payload": []}, "/payload"),
        ({"more": 1}, "/more"),
    ],
)
async def test_what_is_no_message_is_refused_with_the_place(change: dict[str, object], pointer: str) -> None:
    body = {name: value for name, value in {**SENT, **change}.items() if value is not ...}
    errors = refused(await post(MemoryBus(), body), 400, "message_invalid")["errors"]
    assert isinstance(errors, list)
    assert errors[0]["pointer"] == pointer


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000, b'{"id":"\\ud800"}'])
async def test_what_is_no_json_is_refused(body: bytes) -> None:
    refused(await post(MemoryBus(), body), 400, "message_invalid")


async def test_an_agent_that_there_is_not_has_no_queue() -> None:
    bus = MemoryBus()
    refused(await post(bus, {**SENT, "recipient": "nobody"}), 404, "recipient_unknown")
    assert (await bus.depth("nobody")).waiting == 0


async def test_an_id_that_means_something_else_is_a_conflict() -> None:
    bus = MemoryBus()
    await post(bus, SENT)
    refused(await post(bus, {**SENT, "payload": {}}), 409, "message_conflict")


async def test_a_full_queue_and_a_bus_that_is_away_are_tried_again_later() -> None:
    full = MemoryBus(BusLimits(capacity=1))
    await post(full, SENT)
    for bus, body, code in ((full, {**SENT, "id": "m-2"}, "queue_full"), (AwayBus(), SENT, "bus_away")):
        answer = await post(bus, body)
        refused(answer, 503, code)
        assert answer.headers["retry-after"] == "1"


async def test_what_the_bus_finds_too_long_is_refused() -> None:
    refused(await post(MemoryBus(BusLimits(octets=10)), SENT), 400, "message_invalid")
    refused(await post(MemoryBus(), b" " * 1_048_577), 413, "body_too_large")


async def test_anybody_may_ask_how_much_waits_for_an_agent() -> None:
    bus = MemoryBus()
    await post(bus, SENT)
    async with client(bus) as engine:
        known = await engine.get("/api/agents/memory")
        unknown = await engine.get("/api/agents/nobody", headers={"x-request-id": "r-1"})
    assert known.json() == {"agent": "memory", "waiting": 1, "taken": 0, "dead": 0}
    refused(unknown, 404, "not_found")
    async with client(AwayBus()) as engine:
        refused(await engine.get("/api/agents/memory", headers={"x-request-id": "r-1"}), 503, "bus_away")
