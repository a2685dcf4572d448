"""What Envoys tell of requests: each request is in the log and in the usage soon after, under nobody's name."""

import os
import signal
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing

import pytest

from apibank.ready import read_ready
from tests.support.client import CONTENT, Client
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
# Envoy tells each second, and the service writes each second.
SOON = 30.0


def rows_of(stack: Stack, statement: str, *values: object, count: int = 1, within: float = SOON) -> list[sqlite3.Row]:
    """Rows of the usage's own database, as soon as there are so many."""
    deadline = time.monotonic() + within
    while True:
        with closing(sqlite3.connect(f"file:{stack.state_dir / 'telemetry.db'}?mode=ro", uri=True, timeout=10)) as file:
            file.row_factory = sqlite3.Row
            found = file.execute(statement, values).fetchall()
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


def logged(stack: Stack, request_ids: Sequence[str], count: int, within: float = SOON) -> list[sqlite3.Row]:
    places = ",".join("?" * len(request_ids))
    statement = f"SELECT * FROM access_log WHERE request_id IN ({places})"
    return rows_of(stack, statement, *request_ids, count=count, within=within)


@pytest.mark.requirement("R8", "R17")
def test_a_request_is_told_at_both_tiers_with_who_and_what_and_under_nobodys_name(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    name = fresh("user")
    token = tokens.of("marketing", fresh, sub=name, tier="business")
    answer = client.call("POST", PATH + "?secret=in-the-query", token=token, json=CONTENT)
    assert answer.status_code == 200, answer.text
    rows = {row["gateway"]: row for row in logged(stack, [answer.headers["x-request-id"]], 2)}
    assert rows.keys() == {"central", "marketing"}
    for row in rows.values():
        told = (row["method"], row["path"], row["status"], row["outcome"], row["tier"])
        assert told == ("POST", PATH, 200, "allowed", "business")
        assert 0 < row["upstream_duration"] <= row["duration"] < 60_000
        assert row["octets_in"] > 0
        assert row["octets_out"] > 0
        assert name not in str(tuple(row))
        assert "in-the-query" not in str(tuple(row))
    # One caller, by one pseudonym, at both.
    assert rows["central"]["subject"] == rows["marketing"]["subject"] != ""
    assert rows["marketing"]["route"] == "content"
    usage = rows_of(
        stack,
        "SELECT SUM(requests) AS requests FROM usage WHERE gateway = ? AND caller = ?",
        "marketing",
        rows["marketing"]["caller"],
    )
    assert usage[0]["requests"] >= 1


def test_who_is_refused_is_told_with_the_reason(stack: Stack, client: Client) -> None:
    answer = client.call("POST", PATH, json=CONTENT)
    assert answer.status_code == 401
    (row,) = logged(stack, [answer.headers["x-request-id"]], 1)
    assert (row["gateway"], row["status"], row["outcome"], row["caller"]) == ("central", 401, "denied", "anonymous")
    assert row["upstream_duration"] is None


def test_no_request_waits_for_who_is_told_of_it_and_what_was_written_stays(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="enterprise")

    def asked(count: int) -> list[str]:
        answers = [client.call("POST", PATH, token=token, json=CONTENT) for _ in range(count)]
        assert [one.status_code for one in answers] == [200] * count
        return [one.headers["x-request-id"] for one in answers]

    before = asked(5)
    assert len(logged(stack, before, 10)) == 10
    os.kill(read_ready(stack.state_dir).pids["telemetry"], signal.SIGKILL)
    asked(5)
    # It is started again, and told again.
    deadline = time.monotonic() + 60
    while len(logged(stack, asked(1), 2, within=3)) < 2:
        assert time.monotonic() < deadline
    assert len(logged(stack, before, 10)) == 10
