"""The platform's own API through real Envoys: its health is real, its figures are measured, its orders are obeyed."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from apibank.ready import read_ready
from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

ADMIN = "/api/platform/admin"
PATIENCE = 90.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.requirement("R29")
def test_health_is_that_of_the_parts_that_run(client: Client) -> None:
    def healthy() -> bool:
        body = client.call("GET", "/api/platform/health").json()
        return body["components"] == dict.fromkeys(("database", "redis", "gateways", "agents"), "healthy")

    until(healthy, "a component was not healthy")


@pytest.mark.requirement("R31", "R36", "R74")
def test_an_agent_restarts_when_an_administrator_orders_it_and_the_audit_has_both_ends(
    internal: Client, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.admin(fresh)
    before = stack.log("agents").count('"agent_restarted"')
    answer = internal.call("POST", f"{ADMIN}/restart-agent?agent_id=learning", token=token)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"status": "restarting", "agent_id": "learning"}
    assert stack.log("agents").count('"agent_restarted"') == before + 1
    request_id = answer.headers["x-request-id"]

    def outcomes() -> set[str]:
        found = internal.call("GET", f"{ADMIN}/audit?request_id={request_id}&gateway=platform", token=token)
        return {entry["outcome"] for entry in found.json()["entries"]}

    # What authorization allowed is in it, too.
    until(lambda: outcomes() == {"allowed", "initiated", "success"}, "the audit does not have it")


@pytest.mark.requirement("R31")
def test_an_agent_that_is_not_there_is_told_and_one_that_does_not_run_is_a_failure(
    internal: Client, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.admin(fresh)
    unknown = internal.call("POST", f"{ADMIN}/restart-agent?agent_id=nobody", token=token)
    assert (unknown.status_code, problem(unknown)["code"]) == (404, "agent_unknown")
    agents = read_ready(stack.state_dir).pids["agents"]
    os.kill(agents, signal.SIGSTOP)
    try:
        silent = internal.call("POST", f"{ADMIN}/restart-agent?agent_id=learning", token=token)
        assert (silent.status_code, problem(silent)["code"]) == (504, "agent_silent")
        health = internal.call("GET", "/api/platform/health").json()
        assert (health["status"], health["components"]["agents"]) == ("degraded", "down")
    finally:
        os.kill(agents, signal.SIGCONT)
    request_id = silent.headers["x-request-id"]
    found = internal.call("GET", f"{ADMIN}/audit?request_id={request_id}&outcome=failure", token=token).json()[
        "entries"
    ]
    assert [(entry["status"], entry["reason"]) for entry in found] == [(504, "agent_silent")]


@pytest.mark.requirement("R31", "R36")
def test_a_restart_whose_process_dies_is_closed_by_the_next(
    internal: Client, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.admin(fresh)
    pids = read_ready(stack.state_dir).pids
    # Nobody answers, so that the platform waits.
    os.kill(pids["agents"], signal.SIGSTOP)
    try:
        os.kill(pids["platform"], 0)
        import threading

        asking = threading.Thread(
            target=lambda: internal.call("POST", f"{ADMIN}/restart-agent?agent_id=safety", token=token)
        )
        asking.start()
        with Client(stack.ready, address="127.0.0.2") as other:
            query = f"{ADMIN}/audit?outcome=initiated&endpoint={ADMIN}/restart-agent%3Fagent_id=safety"
            until(lambda: bool(other.call("GET", query, token=token).json()["entries"]), "it was not initiated")
        os.kill(pids["platform"], signal.SIGKILL)
        asking.join(30)
    finally:
        os.kill(pids["agents"], signal.SIGCONT)

    def closed() -> bool:
        answer = internal.call("GET", f"{ADMIN}/audit?outcome=failure&endpoint={ADMIN}/restart-agent", token=token)
        return answer.status_code == 200 and any(
            entry["reason"] == "restart_interrupted" and entry["endpoint"].endswith("=safety")
            for entry in answer.json()["entries"]
        )

    until(closed, "nobody closed it")


@pytest.mark.requirement("R30")
def test_figures_of_what_nobody_told_are_null_and_others_are_measured(
    internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.admin(fresh)
    found = internal.call("GET", "/api/platform/metrics", token=token)
    assert found.status_code == 200, found.text
    body = found.json()
    assert body["active_agents"] > 20
    assert body["window_seconds"] == 60
    known = body["newest_request"] is not None
    assert [body[name] is not None for name in ("requests_per_minute", "error_rate", "p95_latency")] == [known] * 3


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("path", ["/api/platform/metrics", f"{ADMIN}/logs", f"{ADMIN}/audit"])
def test_administration_is_for_administrators(path: str, internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    assert internal.call("GET", path, token=tokens.admin(fresh)).status_code == 200
    customer = internal.call("GET", path, token=tokens.of("marketing", fresh))
    assert (customer.status_code, problem(customer)["detail"]) == (403, "Admin access required")
    assert internal.call("GET", path).status_code == 401


@pytest.mark.requirement("R30", "R32")
def test_figures_and_logs_are_of_the_requests_that_were_made(
    client: Client, internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    administrator, customer = tokens.admin(fresh), tokens.of("marketing", fresh, tier="business")
    answers = [client.call("GET", "/api/marketing/content", token=customer) for _ in range(30)]
    lost = client.call("GET", "/api/marketing/content")
    made = {answer.headers["x-request-id"] for answer in answers}

    def figures() -> dict[str, float]:
        found: dict[str, float] = internal.call("GET", "/api/platform/metrics", token=administrator).json()
        return found

    def logged(query: str) -> list[dict[str, object]]:
        found = internal.call("GET", f"{ADMIN}/logs?{query}", token=administrator)
        assert found.status_code == 200, found.text
        rows: list[dict[str, object]] = found.json()["requests"]
        return rows

    until(lambda: (figures()["requests_per_minute"] or 0) >= 31, "the requests were not counted")
    found = figures()
    assert found["p95_latency"] > 0
    assert 0 <= found["error_rate"] <= 1
    until(lambda: made <= {one["request_id"] for one in logged("gateway=marketing&count=500")}, "not all are logged")
    both = logged(f"request_id={answers[0].headers['x-request-id']}")
    assert {(one["gateway"], one["status"], one["path"]) for one in both} == {
        ("central", 200, "/api/marketing/content"), ("marketing", 200, "/api/marketing/content"),
    }  # fmt: skip
    refused = logged(f"request_id={lost.headers['x-request-id']}&status=4")
    assert [(one["gateway"], one["status"]) for one in refused] == [("central", 401)]
