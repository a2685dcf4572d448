"""Every change by the control API is in the audit: who, why, what, and what came of it; or it is not made."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from sqlalchemy.exc import OperationalError

from apibank.key_desk import KeyDesk
from portal.change_record import ChangeRecord
from portal.control_api import GatewayState, ResourceState, control_app
from records.api_keys import ApiKeys
from records.audit_entry import AuditEntry
from records.audit_log import AuditLog, AuditQuery
from records.database import Database
from records.fact_versions import FactVersions
from records.upgrade import upgrade

SECRET = "a-secret-of-the-control-plane"
WHO = {"x-apibank-author": "ana", "x-apibank-reason": "acme asked by phone", "user-agent": "tests"}
NEW = {"partner": "acme", "scopes": ["partner:acme:marketing:read"]}


class Nothing:
    def gateways(self) -> list[GatewayState]:
        return []

    def resources(self) -> list[ResourceState]:
        return []


class Lost:
    """An audit whose database goes away after so many rows."""

    def __init__(self, log: AuditLog, rows: int) -> None:
        self._log, self._rows = log, rows

    async def write(self, entries: Sequence[AuditEntry]) -> object:
        if not self._rows:
            raise OperationalError("INSERT", {}, Exception("the disk is full"))
        self._rows -= 1
        return await self._log.write(entries)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    await upgrade(url)
    async with Database(url) as opened:
        yield opened


def client(database: Database, rows: int | None = None) -> httpx2.AsyncClient:
    log = AuditLog(database)
    record = ChangeRecord(log if rows is None else Lost(log, rows))
    keys = KeyDesk(ApiKeys(database), FactVersions(database))
    app = control_app(Nothing(), keys, lambda: SECRET, record=record)
    headers = {"authorization": f"Bearer {SECRET}", **WHO}
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers)


async def rows_of(database: Database) -> list[AuditEntry]:
    """The oldest first."""
    return [one.entry for one in reversed(await AuditLog(database).find(AuditQuery(gateway="control-plane")))]


async def test_a_change_leaves_who_and_why_before_it_is_made_and_what_came_of_it_after(database: Database) -> None:
    before = datetime.now(UTC)
    async with client(database) as http:
        made = (await http.post("/v1/keys", json=NEW)).json()
        await http.post(f"/v1/keys/{made['id']}/rotate", json={}, headers={"x-apibank-reason": ""})
        await http.post("/v1/keys/k_nobodys/revoke")
    rows = await rows_of(database)
    told = [(one.outcome, one.status, one.method, one.endpoint, one.reason) for one in rows]
    rotated, gone = f"/v1/keys/{made['id']}/rotate", "/v1/keys/k_nobodys/revoke"
    assert told == [
        ("initiated", None, "POST", "/v1/keys", "acme asked by phone"),
        ("success", 201, "POST", "/v1/keys", "acme asked by phone"),
        ("initiated", None, "POST", rotated, ""),
        ("success", 201, "POST", rotated, ""),
        ("initiated", None, "POST", gone, "acme asked by phone"),
        ("refused", 404, "POST", gone, "acme asked by phone"),
    ]
    assert {(one.principal, one.user_agent) for one in rows} == {("operator:ana", "tests")}
    assert all(first.request_id == second.request_id for first, second in zip(rows[::2], rows[1::2], strict=True))
    assert rows[1].credential_id == made["id"]
    assert rows[3].credential_id not in {"", made["id"]}
    assert all(before <= one.timestamp for one in rows)
    assert made["key"] not in str(rows)


async def test_nothing_is_changed_where_it_cannot_be_recorded(database: Database) -> None:
    async with client(database, rows=0) as http:
        refused = await http.post("/v1/keys", json=NEW)
        assert (refused.status_code, refused.json()["code"]) == (503, "audit_unavailable")
        # Looking needs no row.
        assert (await http.get("/v1/keys")).json() == []


async def test_what_was_changed_is_told_although_its_outcome_cannot_be_recorded(database: Database) -> None:
    async with client(database, rows=1) as http:
        made = await http.post("/v1/keys", json=NEW)
        assert made.status_code == 201
    assert [one.outcome for one in await rows_of(database)] == ["initiated"]


async def test_a_stranger_and_a_look_leave_no_row(database: Database) -> None:
    async with client(database) as http:
        await http.get("/v1/keys")
        assert (await http.post("/v1/keys", json=NEW, headers={"authorization": "Bearer wrong"})).status_code == 401
    assert await rows_of(database) == []


@pytest.mark.parametrize("header", ["x-apibank-author", "x-apibank-reason"])
@pytest.mark.parametrize("text", ["a" * 129, "a\x7fb"])
async def test_who_and_why_are_legible_or_nothing_is_done(database: Database, header: str, text: str) -> None:
    async with client(database) as http:
        refused = await http.post("/v1/keys", json=NEW, headers={header: text})
        assert (refused.status_code, refused.json()["code"]) == (422, header.replace("x-apibank-", "") + "_invalid")
        assert (await http.get("/v1/keys")).json() == []
