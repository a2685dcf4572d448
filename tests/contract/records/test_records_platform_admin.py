"""Administration over HTTP, on real tables: for who came through the gateway as an administrator, for nobody else."""

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI

from portal.platform_admin import admin_routes
from portal.platform_caller import Caller
from portal.problems import Refused
from portal.refusals import refusals_are_problems
from records.audit_entry import AuditEntry
from records.audit_log import AuditLog
from records.database import Database
from records.request_log import RequestLog
from records.usage import Usage
from tests.contract.records.conftest import NOW
from tests.contract.records.test_records_request_figures import row

ADMIN = {
    "x-waooaw-subject": "ann", "x-waooaw-role": "admin", "x-waooaw-client-address": "10.0.0.7", "x-request-id": "r-1",
    "user-agent": "curl/8",
}  # fmt: skip
AT = NOW.timestamp()
PATHS = ("/logs", "/audit", "/restart-agent?agent_id=vision")


class Restarts:
    def __init__(self) -> None:
        self.ordered: list[tuple[str, Caller]] = []

    async def restart(self, agent: str, caller: Caller) -> None:
        self.ordered.append((agent, caller))
        if agent == "silent":
            raise Refused(504, "agent_silent", "It has not answered.")


@pytest.fixture
def restarts() -> Restarts:
    return Restarts()


@pytest.fixture
async def platform(database: Database, restarts: Restarts) -> AsyncIterator[httpx2.AsyncClient]:
    application = FastAPI()
    application.include_router(admin_routes(restarts, RequestLog(database), AuditLog(database)))
    refusals_are_problems(application)
    transport, base = httpx2.ASGITransport(application), "http://platform/api/platform/admin"
    async with httpx2.AsyncClient(transport=transport, base_url=base, headers=ADMIN) as client:
        yield client


def refused(answer: httpx2.Response, status: int, code: str) -> dict[str, object]:
    body: dict[str, object] = answer.json()
    assert (answer.status_code, body["code"], body["request_id"]) == (status, code, "r-1")
    return body


@pytest.mark.requirement("R33")
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("lost", ["x-waooaw-subject", "x-waooaw-role"])
async def test_who_did_not_come_through_the_gateway_is_refused(
    path: str, lost: str, platform: httpx2.AsyncClient, restarts: Restarts
) -> None:
    del platform.headers[lost]
    method = "POST" if path.startswith("/restart") else "GET"
    assert refused(await platform.request(method, path), 403, "forbidden")["detail"] == "Admin access required."
    assert restarts.ordered == []


@pytest.mark.requirement("R31")
async def test_a_restart_is_ordered_for_the_agent_and_by_the_administrator(
    platform: httpx2.AsyncClient, restarts: Restarts
) -> None:
    answer = await platform.post("/restart-agent", params={"agent_id": "vision"})
    assert (answer.status_code, answer.json()) == (200, {"status": "restarting", "agent_id": "vision"})
    assert restarts.ordered == [("vision", Caller("ann", "admin", "10.0.0.7", "curl/8", "r-1"))]
    refused(await platform.post("/restart-agent", params={"agent_id": "silent"}), 504, "agent_silent")


@pytest.mark.parametrize("query", ["", "?agent_id=", "?agent_id=A", "?agent_id=a.b", "?agent_id=" + "a" * 64])
async def test_what_names_no_agent_orders_nothing(query: str, platform: httpx2.AsyncClient, restarts: Restarts) -> None:
    refused(await platform.post(f"/restart-agent{query}"), 422, "request_invalid")
    assert restarts.ordered == []


@pytest.fixture
async def logged(database: Database) -> None:
    rows = [
        row(AT + 1, 200, request_id="a"),
        row(AT + 2, 404, request_id="b"),
        row(AT + 3, 503, request_id="b", gateway="marketing", route="content", caller="tenant:acme", tenant="acme"),
        row(AT + 4, 0, request_id="c"),
    ]
    await Usage(database).add({}, rows)


@pytest.mark.requirement("R32")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, [4, 3, 2, 1]),
        ({"gateway": "marketing"}, [3]),
        ({"status": 404}, [2]),
        ({"status": 5}, [3]),
        ({"status": 0}, [4]),
        ({"request_id": "b"}, [3, 2]),
        ({"caller": "tenant:acme", "tenant": "acme", "route": "content"}, [3]),
        ({"since": "2026-11-22T12:00:02.1Z", "until": "2026-11-22T13:00:04.1+01:00"}, [3, 2]),
        ({"cursor": 3}, [2, 1]),
        ({"status": 2, "gateway": "marketing"}, []),
    ],
)
async def test_requests_are_found_by_everything_that_is_said(
    query: dict[str, str], found: list[int], platform: httpx2.AsyncClient, logged: None
) -> None:
    answer = await platform.get("/logs", params=query)
    assert answer.status_code == 200, answer.text
    assert [one["id"] for one in answer.json()["requests"]] == found
    assert answer.json()["next"] is None
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.requirement("R32")
async def test_pages_lead_to_the_end_and_rows_tell_everything(platform: httpx2.AsyncClient, logged: None) -> None:
    seen, cursor = list[int](), None
    while True:
        query = {"count": 3} | ({} if cursor is None else {"cursor": cursor})
        page = (await platform.get("/logs", params=query)).json()
        seen += [one["id"] for one in page["requests"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == [4, 3, 2, 1]
    first = (await platform.get("/logs", params={"request_id": "a"})).json()["requests"][0]
    assert (first["at"], first["gateway"], first["duration"]) == ("2026-11-22T12:00:01.123456Z", "central", 1.0)


@pytest.mark.parametrize(
    "query",
    [
        {"status": "600"}, {"status": "x"}, {"since": "yesterday"}, {"since": "2026-11-22T12:00:00"}, {"count": "0"},
        {"count": "501"}, {"cursor": "0"}, {"gateway": ""}, {"gatewy": "central"}, {"tenant": "x" * 257},
        {"cursor": str(2**63)}, {"gateway": "a\x00b"}, {"count": "9" * 5000}, {"request_id": ["a", ""]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/logs", "/audit"])
async def test_a_condition_that_is_none_is_refused_and_not_left_out(
    path: str, query: dict[str, str], platform: httpx2.AsyncClient
) -> None:
    refused(await platform.get(path, params=query), 422, "request_invalid")


@pytest.mark.requirement("R36")
async def test_the_audit_is_searched_by_everything_that_is_said(
    platform: httpx2.AsyncClient, database: Database
) -> None:
    entry = AuditEntry(
        timestamp=NOW, gateway="platform", endpoint="/api/platform/admin/logs", method="GET", outcome="allowed",
        principal="sub:1", request_id="r-9",
    )  # fmt: skip
    denied = replace(
        entry, gateway="central", outcome="denied", status=403, event_id="2", request_id="r-8", method="POST"
    )
    await AuditLog(database).write([entry, denied])

    async def ids(**query: object) -> list[str]:
        answer = await platform.get("/audit", params=query)
        assert answer.status_code == 200, answer.text
        return [one["request_id"] for one in answer.json()["entries"]]

    assert sorted(await ids()) == ["r-8", "r-9"]
    assert await ids(gateway="central", status=403, outcome="denied", method="POST") == ["r-8"]
    assert await ids(principal="sub:1", endpoint="/api/platform/ad", request_id="r-9") == ["r-9"]
    assert await ids(until="2026-11-22T12:00:00Z") == []
    first = (await platform.get("/audit", params={"count": 1})).json()
    rest = (await platform.get("/audit", params={"count": 1, "cursor": first["next"]})).json()
    assert {one["entries"][0]["request_id"] for one in (first, rest)} == {"r-8", "r-9"}


async def test_a_row_that_somebody_spoilt_is_told_and_not_shown(
    platform: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spoilt(*_: object) -> None:
        raise ValueError("no isoformat string")

    monkeypatch.setattr(AuditLog, "find", spoilt)
    assert "audit verify" in str(refused(await platform.get("/audit"), 503, "audit_unavailable")["detail"])


async def test_tables_that_cannot_be_read_are_a_refusal(
    restarts: Restarts, platform: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(RequestLog, "find", gone)
    monkeypatch.setattr(AuditLog, "find", gone)
    refused(await platform.get("/logs"), 503, "figures_unavailable")
    refused(await platform.get("/audit"), 503, "audit_unavailable")
