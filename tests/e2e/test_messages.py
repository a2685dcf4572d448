"""A signed message goes through real Envoys onto the bus, and an agent does what is in it, whoever dies on the way."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from apibank.ready import read_ready
from tests.e2e.test_agents import Agent, message
from tests.support.client import CONTENT, LEAD, QUESTION, Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/agents/orchestration"
# A lease of ten seconds, and a process that starts anew.
PATIENCE = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def coordinator(internal: Client, stack: Stack) -> Agent:
    return Agent(internal, stack, "coordinator")


def done(stack: Stack, identity: str) -> int:
    """How often an agent has said that it did the message."""
    return sum('"message_done"' in line and f'"{identity}"' in line for line in stack.log("agents").splitlines())


def waiting(agent: Agent, name: str) -> dict[str, object]:
    answer = agent.send("GET", f"/api/agents/{name}")
    assert answer.status_code == 200, answer.text
    body: dict[str, object] = answer.json()
    return body


@pytest.mark.requirement("R44", "R62", "R78")
def test_a_message_is_taken_and_done_by_its_recipient_once_however_often_it_is_sent(
    coordinator: Agent, stack: Stack, fresh: Fresh
) -> None:
    identity = fresh("message")
    body = message("coordinator", id=identity, recipient="planning")
    for _ in range(3):
        answer = coordinator.send("POST", PATH, body)
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"status": "processing", "request_id": answer.headers["x-request-id"]}
    until(lambda: done(stack, identity) > 0, "nobody did it")
    until(lambda: waiting(coordinator, "planning")["taken"] == 0, "it was not acknowledged")
    assert done(stack, identity) == 1
    said = next(line for line in stack.log("agents").splitlines() if f'"{identity}"' in line)
    assert '"agent": "planning"' in said
    assert '"sender": "coordinator"' in said


@pytest.mark.requirement("R78")
def test_agents_that_are_killed_lose_nothing(coordinator: Agent, stack: Stack, fresh: Fresh) -> None:
    killed = read_ready(stack.state_dir).pids["agents"]
    # Some are being done at that moment, some wait.
    names = [fresh("message") for _ in range(24)]
    for number, identity in enumerate(names):
        if number == 16:
            until(lambda: waiting(coordinator, "evaluation")["taken"] != 0, "nobody took any")
            os.kill(killed, signal.SIGKILL)
        body = message("coordinator", id=identity, recipient="evaluation", payload={"demo": {"seconds": 1.0}})
        answer = coordinator.send("POST", PATH, body)
        assert answer.status_code == 200, answer.text
    until(lambda: all(done(stack, identity) for identity in names), "a message was lost")
    until(lambda: waiting(coordinator, "evaluation")["taken"] == 0, "one was not acknowledged")
    assert waiting(coordinator, "evaluation") == {"agent": "evaluation", "waiting": 0, "taken": 0, "dead": 0}
    assert read_ready(stack.state_dir).pids["agents"] != killed


def test_an_id_says_one_thing_and_an_agent_that_there_is_not_is_told_so(coordinator: Agent, fresh: Fresh) -> None:
    identity = fresh("message")
    assert coordinator.send("POST", PATH, message("coordinator", id=identity)).status_code == 200
    conflict = coordinator.send("POST", PATH, message("coordinator", id=identity, payload={}))
    assert (conflict.status_code, problem(conflict)["code"]) == (409, "message_conflict")
    nobody = coordinator.send("POST", PATH, message("coordinator", id=fresh("message"), recipient="nobody"))
    assert (nobody.status_code, problem(nobody)["code"]) == (404, "recipient_unknown")
    assert problem(nobody)["request_id"] == nobody.headers["x-request-id"]


@pytest.mark.requirement("R44")
@pytest.mark.parametrize(
    ("gateway", "path", "body"),
    [
        ("marketing", "/api/marketing/content", CONTENT),
        ("education", "/api/education/math", QUESTION),
        ("sales", "/api/sales/leads", LEAD),
    ],
)
def test_a_request_that_a_domain_accepts_goes_to_orchestration_and_is_done_there(
    gateway: str, path: str, body: dict[str, object], client: Client, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    answer = client.call("POST", path, token=tokens.of(gateway, fresh), json=body)
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["x-request-id"]
    assert (answer.json()["status"], answer.json()["request_id"]) == ("processing", request_id)
    until(lambda: done(stack, request_id) == 1, "orchestration did not do it")
    refused = client.call("POST", path, token=tokens.of(gateway, fresh), json={})
    assert refused.status_code == 400
    assert done(stack, refused.headers["x-request-id"]) == 0
