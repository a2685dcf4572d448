"""Agents sign what they send; nobody else reaches them, and nobody from outside reaches them at all."""

import json
import zlib
from collections.abc import Mapping

import httpx2
import pytest

from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from waooaw_signing import sign

COES = [
    "orchestration", "coordinator", "vision", "planning", "memory", "knowledge", "reasoning", "tools", "evaluation",
    "safety", "compliance", "monitoring", "deployment", "learning",
]  # fmt: skip


def message(sender: str, **fields: object) -> bytes:
    """The same each time; another one has another id, as the bus demands it."""
    body = {"type": "task.created", "sender": sender, "recipient": "vision", "payload": {"n": 1}, **fields}
    body.setdefault("id", f"m-{zlib.crc32(json.dumps(body).encode())}")
    return json.dumps(body).encode()


class Agent:
    """An agent with its development secret, on the internal network."""

    def __init__(self, client: Client, stack: Stack, agent_id: str) -> None:
        self.client, self.stack, self.id = client, stack, agent_id
        self.secret = (
            (stack.state_dir / "secrets" / "agents" / agent_id).read_text(encoding="utf-8").split()[0].encode()
        )

    def signed(self, method: str, path: str, body: bytes = b"", **options: object) -> dict[str, str]:
        url = self.stack.ready.central.internal_https + path
        return sign(method, url, body, self.id, self.secret, **options)  # type: ignore[arg-type]

    def send(
        self, method: str, path: str, body: bytes | None = None, *, headers: Mapping[str, str] | None = None
    ) -> httpx2.Response:
        sent = self.signed(method, path, body or b"") if headers is None else dict(headers)
        if body is not None:
            sent.setdefault("content-type", "application/json")
        return self.client.call(method, path, content=body, headers=sent, door="internal_https")


@pytest.fixture
def vision(internal: Client, stack: Stack) -> Agent:
    return Agent(internal, stack, "vision")


@pytest.mark.requirement("R59", "R60", "R62", "R79")
@pytest.mark.parametrize("coe", COES)
def test_a_signed_message_reaches_every_centre_of_excellence(coe: str, vision: Agent) -> None:
    answer = vision.send("POST", f"/api/agents/{coe}", message("vision"))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "processing", "request_id": answer.headers["x-request-id"]}


def test_an_unknown_centre_is_404(vision: Agent) -> None:
    answer = vision.send("POST", "/api/agents/unknown", message("vision"))
    assert problem(answer)["status"] == 404


@pytest.mark.requirement("R60", "R79")
def test_what_was_changed_after_signing_is_refused(vision: Agent) -> None:
    path, body = "/api/agents/orchestration", message("vision")
    before = vision.client.hits("agents")
    good = vision.signed("POST", path, body)
    attempts = {
        "body": (path, message("vision", payload={"n": 2}), vision.signed("POST", path, body)),
        "path": ("/api/agents/coordinator", body, vision.signed("POST", path, body)),
        "query": (path + "?all=1", body, vision.signed("POST", path, body)),
        "signature": (path, body, {**good, "signature": "sig1=:" + "A" * 43 + "=:"}),
        "key id": (path, body, {**good, "signature-input": good["signature-input"].replace("vision", "memory")}),
        "no signature": (path, body, {}),
    }
    for name, (to, sent, headers) in attempts.items():
        answer = vision.send("POST", to, sent, headers=headers)
        assert answer.status_code == 401, name
    assert vision.client.hits("agents") == before


@pytest.mark.requirement("R60", "R79")
def test_a_replayed_request_is_refused(vision: Agent) -> None:
    path, body = "/api/agents/orchestration", message("vision")
    headers = vision.signed("POST", path, body)
    assert vision.send("POST", path, body, headers=headers).status_code == 200
    before = vision.client.hits("agents")
    again = vision.send("POST", path, body, headers=headers)
    assert (again.status_code, problem(again)["code"]) == (401, "signature_replayed")
    assert vision.client.hits("agents") == before


@pytest.mark.requirement("R60", "R79")
@pytest.mark.parametrize("age", [-3600, -62, 62, 3600])
def test_a_stale_or_early_signature_is_refused(age: int, vision: Agent) -> None:
    import time

    path, body = "/api/agents/orchestration", message("vision")
    answer = vision.send("POST", path, body, headers=vision.signed("POST", path, body, created=int(time.time()) + age))
    assert (answer.status_code, problem(answer)["code"]) == (401, "signature_invalid")


@pytest.mark.requirement("R62")
def test_the_sender_of_a_message_must_be_its_signer(vision: Agent) -> None:
    before = vision.client.hits("agents")
    answer = vision.send("POST", "/api/agents/orchestration", message("memory"))
    assert (answer.status_code, problem(answer)["code"]) == (403, "sender_mismatch")
    assert vision.client.hits("agents") == before


@pytest.mark.requirement("R62", "R66")
def test_a_message_without_its_fields_is_refused(vision: Agent) -> None:
    for field in ("id", "type", "sender", "recipient", "payload"):
        body = json.loads(message("vision"))
        del body[field]
        answer = vision.send("POST", "/api/agents/orchestration", json.dumps(body).encode())
        assert answer.status_code == 400, field
        assert problem(answer)["errors"]


@pytest.mark.requirement("R60", "R68")
def test_a_token_opens_no_agent(internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    for token in (tokens.admin(fresh), tokens.of("marketing", fresh)):
        answer = internal.call(
            "POST", "/api/agents/orchestration", token=token, content=message("vision"),
            headers={"content-type": "application/json"}, door="internal_https",
        )  # fmt: skip
        assert answer.status_code == 401
        assert problem(answer)["code"] == "signature_missing"


@pytest.mark.requirement("R2", "R64", "R79")
def test_agents_are_not_reachable_from_the_public_door(vision: Agent, tokens: Tokens, fresh: Fresh) -> None:
    path, body = "/api/agents/orchestration", message("vision")
    before = vision.client.hits("agents")
    for spelling in (
        path,
        "/api//agents/orchestration",
        "/api/./agents/orchestration",
        "/api/marketing/../agents/vision",
    ):
        url = vision.stack.ready.central.https + spelling
        headers = sign("POST", url, body, vision.id, vision.secret)
        answer = vision.client.call("POST", spelling, content=body, headers=headers)
        assert problem(answer)["status"] in {400, 404}, spelling
    assert vision.client.call("GET", path, token=tokens.admin(fresh)).status_code == 404
    assert vision.client.hits("agents") == before


@pytest.mark.requirement("R64", "R79")
def test_the_internal_door_serves_the_internal_network_alone(outside: Client, stack: Stack) -> None:
    stranger = Agent(outside, stack, "vision")
    before = outside.hits("agents")
    answer = stranger.send("POST", "/api/agents/orchestration", message("vision"))
    assert (answer.status_code, problem(answer)["code"]) == (403, "address_not_allowed")
    assert outside.hits("agents") == before


@pytest.mark.requirement("R64")
def test_the_internal_door_serves_nothing_but_agents(internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = internal.call("GET", "/api/marketing/content", token=tokens.of("marketing", fresh), door="internal_https")
    assert answer.status_code == 404
