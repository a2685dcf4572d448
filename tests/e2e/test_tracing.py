"""A traced request tells of itself in both gateways, down to each call that was made for it."""

import sqlite3
import time

import pytest

from tests.e2e.test_telemetry import rows_of
from tests.support.client import CONTENT, Client
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
# Envoy tells of spans every five seconds.
SOON = 45.0
ASKED = (
    "async envoy.service.auth.v3.Authorization.Check egress",
    "async envoy.service.ratelimit.v3.RateLimitService.ShouldRateLimit egress",
)
THEIRS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def trace_of(stack: Stack, request_id: str) -> list[sqlite3.Row]:
    """All spans of the trace, when no more of them come."""
    rows_of(stack, "SELECT * FROM spans WHERE request_id = ?", request_id, count=2, within=SOON)
    statement = "SELECT * FROM spans WHERE trace_id IN (SELECT trace_id FROM spans WHERE request_id = ?)"
    found: list[sqlite3.Row] = []
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        last, found = found, rows_of(stack, statement, request_id, count=1)
        if len(last) == len(found) and {row["service"] for row in found} >= {"apibank-central", "apibank-marketing"}:
            return found
        time.sleep(6)
    return found


@pytest.mark.requirement("R80")
def test_a_request_is_one_trace_through_both_gateways_with_each_call_below_its_gateway(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    name = fresh("user")
    token = tokens.of("marketing", fresh, sub=name, tier="business")
    headers = {"traceparent": THEIRS, "x-client-trace-id": "theirs"}
    answer = client.call("POST", PATH + "?secret=in-the-query", token=token, json=CONTENT, headers=headers)
    assert answer.status_code == 200, answer.text
    spans = trace_of(stack, answer.headers["x-request-id"])
    by_id = {span["span_id"]: span for span in spans}

    def below(parent: sqlite3.Row | None) -> dict[str, sqlite3.Row]:
        wanted = "" if parent is None else parent["span_id"]
        return {span["name"]: span for span in spans if span["parent_id"] == wanted}

    (root,) = below(None).values()
    assert (root["service"], root["name"], root["status"], root["edge"]) == (
        "apibank-central",
        "POST marketing",
        200,
        1,
    )
    of_central = below(root)
    assert of_central.keys() == {*ASKED, "router marketing-gateway egress"}
    (behind,) = below(of_central["router marketing-gateway egress"]).values()
    assert (behind["service"], behind["name"], behind["edge"]) == ("apibank-marketing", "POST content", 0)
    assert below(behind).keys() == {*ASKED, "router marketing-agents egress"}
    # That is all of it, under the id that the client was answered with at both, and under nobody's name.
    assert len(by_id) == len(spans) == 8
    assert {span["request_id"] for span in (root, behind)} == {answer.headers["x-request-id"]}
    everything = str([tuple(span) for span in spans])
    for secret in (name, token, "in-the-query", "0af7651916cd43dd8448eb211c80319c"):
        assert secret not in everything
