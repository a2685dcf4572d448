"""Who administers the platform leaves rows, at both tiers, and so does who is refused."""

import json
import time

import pytest

from tests.e2e.conftest import INTERNAL_ADDRESS, OUTSIDE_ADDRESS
from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/platform/admin/logs"
Row = dict[str, str | int | None]


def rows_of(stack: Stack, request_id: str, count: int) -> dict[str, Row]:
    """The rows of one request, by gateway, as soon as there are so many."""
    deadline = time.monotonic() + 20
    while True:
        done = stack.run("audit", "list", "--request-id", request_id, "-o", "json")
        rows: list[Row] = json.loads(done.stdout)
        if len(rows) >= count or time.monotonic() > deadline:
            assert len(rows) == count
            return {str(row["gateway"]): row for row in rows}


@pytest.mark.requirement("R20", "R36", "R66", "R74", "R75")
def test_an_administrator_leaves_a_row_at_each_tier(
    stack: Stack, internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    name = fresh("admin")
    token = tokens.admin(fresh, sub=name, jti="t-audit")
    answer = internal.call("GET", PATH + "?status=5", token=token, headers={"user-agent": "curl/8"})
    assert answer.status_code == 200, answer.text
    rows = rows_of(stack, answer.headers["x-request-id"], 2)
    assert rows.keys() == {"central", "platform"}
    for row in rows.values():
        assert (row["method"], row["endpoint"], row["status"], row["outcome"]) == ("GET", PATH, 200, "allowed")
        assert (row["ip"], row["role"], row["credential_id"]) == (INTERNAL_ADDRESS, "admin", "t-audit")
        assert row["user_agent"] == "curl/8"
        assert str(row["principal"]).startswith("sub:")
        assert name not in json.dumps(row)
    # The two tiers, and whoever asks by name, mean the same principal.
    assert rows["central"]["principal"] == rows["platform"]["principal"]
    found = json.loads(stack.run("audit", "list", "--subject", name, "-o", "json").stdout)
    assert [row["gateway"] for row in found] == ["platform", "central"]


@pytest.mark.requirement("R36", "R74", "R75")
def test_who_is_refused_leaves_a_row_with_the_reason(
    stack: Stack, internal: Client, outside: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = internal.hits("platform")
    for client, address, token, status in (
        (internal, INTERNAL_ADDRESS, None, 401),
        (internal, INTERNAL_ADDRESS, tokens.of("marketing", fresh), 403),
        (outside, OUTSIDE_ADDRESS, tokens.admin(fresh), 403),
    ):
        answer = client.call("POST", PATH, token=token)
        assert answer.status_code == status
        rows = rows_of(stack, answer.headers["x-request-id"], 2 if status == 403 else 1)
        refused = [row for row in rows.values() if row["outcome"] == "denied"]
        assert [(row["status"], row["reason"], row["ip"]) for row in refused] == [
            (status, problem(answer)["code"], address)
        ]
    assert internal.hits("platform") == before


def test_other_gateways_leave_no_row(stack: Stack, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    answer = client.call("GET", "/api/marketing/content", token=tokens.of("marketing", fresh))
    assert answer.status_code == 200
    # The public health check is the platform's alone, and comes after it.
    later = client.call("GET", "/api/platform/health")
    assert rows_of(stack, later.headers["x-request-id"], 1).keys() == {"platform"}
    assert rows_of(stack, answer.headers["x-request-id"], 0) == {}


@pytest.mark.requirement("R36", "R95", "R106")
def test_the_chains_are_whole_and_hold_no_secret(stack: Stack, internal: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.admin(fresh)
    answer = internal.call("GET", f"{PATH}/{token}", token=token, headers={"user-agent": token})
    rows = rows_of(stack, answer.headers["x-request-id"], 1)
    assert rows["central"]["outcome"] == "denied"
    assert "[redacted]" in str(rows["central"]["endpoint"])
    done = stack.run("audit", "verify")
    assert "central: whole" in done.stdout
    assert "platform: whole" in done.stdout
    for path in stack.state_dir.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes(), path
