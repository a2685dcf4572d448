"""Revocations between the control API, the records and a gateway's decisions."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from apibank.cli import app
from apibank.commands import tokens as command
from apibank.revocation_desk import RevocationDesk
from apibank.revoked_tokens import RevocationsOnBoard
from authz.facts import FactsBoard
from portal.control_api import GatewayState, NewKey, ResourceState, control_app
from records.database import Database
from records.fact_versions import REVOCATIONS, FactVersions
from records.revocations import NewRevocation, TokenRevocations
from records.upgrade import upgrade
from tests.unit.authz.world import ADMIN_ISSUER, AUDIENCE, ISSUER, policy, token

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECRET = "a-secret-of-the-control-plane"
HOUR = timedelta(hours=1)


class NoKeys:
    async def create(self, new: NewKey) -> dict[str, object]:
        return {}

    async def list(self) -> Sequence[dict[str, object]]:
        return []

    async def expiring(self, days: int) -> Sequence[dict[str, object]]:
        return []

    async def rotate(self, key_id: str, overlap_hours: int) -> dict[str, object]:
        return {}

    async def revoke(self, key_id: str) -> dict[str, object]:
        return {}


class Nothing:
    def gateways(self) -> Sequence[GatewayState]:
        return []

    def resources(self) -> Sequence[ResourceState]:
        return []


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    await upgrade(url)
    async with Database(url) as database:
        yield database


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    desk = RevocationDesk(TokenRevocations(database), FactVersions(database), lambda: [policy()], lambda: NOW)
    application = control_app(Nothing(), NoKeys(), lambda: SECRET, revocations=desk)
    headers = {"authorization": f"Bearer {SECRET}"}
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as client:
        yield client


async def test_a_token_is_revoked_listed_and_restored(http: httpx2.AsyncClient) -> None:
    made = await http.post("/v1/revocations", json={"issuer": "customer", "jti": "t-1", "reason": "lost"})
    assert made.status_code == 201
    record = made.json()
    assert (record["issuer"], record["jti"], record["reason"]) == (ISSUER, "t-1", "lost")
    assert (record["in_force_on"], record["silent"]) == ([], [])
    assert [one["id"] for one in (await http.get("/v1/revocations")).json()] == [record["id"]]
    assert (await http.delete(f"/v1/revocations/{record['id']}")).status_code == 200
    assert (await http.get("/v1/revocations")).json() == []
    again = await http.delete(f"/v1/revocations/{record['id']}")
    assert (again.status_code, again.json()["code"]) == (404, "revocation_not_found")


async def test_an_entry_lasts_as_long_as_a_token_that_it_covers_may_live(http: httpx2.AsyncClient) -> None:
    record = (await http.post("/v1/revocations", json={"issuer": ISSUER, "subject": "u", "reason": "left"})).json()
    assert record["issued_until"] == NOW.isoformat()
    # An hour, the leeway of whoever verifies twice, and a minute for clocks.
    assert record["until"] == (NOW + HOUR + timedelta(seconds=2 * 5 + 60)).isoformat()
    later = {"issued_until": (NOW + HOUR).isoformat()}
    longer = await http.post("/v1/revocations", json={"issuer": ISSUER, "subject": "u", "reason": "left", **later})
    assert longer.json()["until"] == (NOW + 2 * HOUR + timedelta(seconds=2 * 5 + 60)).isoformat()


async def test_a_subject_may_be_refused_for_as_long_as_there_are_dates(http: httpx2.AsyncClient) -> None:
    always = {"issuer": ISSUER, "subject": "u", "issued_until": "9999-12-31T23:59:59Z", "reason": "banned"}
    made = await http.post("/v1/revocations", json=always)
    assert made.status_code == 201
    assert made.json()["until"].startswith("9999-12-31T23:59:59")
    (listed,) = (await http.get("/v1/revocations")).json()
    assert listed["issued_until"].startswith("9999-12-31T23:59:59")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"issuer": "nobody", "jti": "t-1", "reason": "x"}, "issuer_unknown"),
        ({"issuer": ISSUER, "jti": "no blanks", "reason": "x"}, "revocation_not_possible"),
        ({"issuer": ISSUER, "jti": "t", "until": "2020-01-01T00:00:00Z", "reason": "x"}, "revocation_not_possible"),
        (
            {"issuer": ISSUER, "subject": "u", "issued_until": "2020-01-01T00:00:00Z", "reason": "x"},
            "revocation_not_possible",
        ),
        ({"issuer": ISSUER, "reason": "x"}, "request_invalid"),
        ({"issuer": ISSUER, "jti": "t", "subject": "u", "reason": "x"}, "request_invalid"),
        ({"issuer": ISSUER, "jti": "t"}, "request_invalid"),
        ({"issuer": ISSUER, "jti": "t", "reason": "x", "issued_until": "2026-01-01T00:00:00Z"}, "request_invalid"),
    ],
)
async def test_what_would_refuse_nothing_is_refused(body: dict[str, str], code: str, http: httpx2.AsyncClient) -> None:
    answer = await http.post("/v1/revocations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert (await http.get("/v1/revocations")).json() == []


async def test_an_issuer_that_nobody_knows_is_answered_with_the_names_and_addresses_of_those_there_are(
    http: httpx2.AsyncClient,
) -> None:
    detail = (await http.post("/v1/revocations", json={"issuer": "custmer", "jti": "t", "reason": "x"})).json()[
        "detail"
    ]
    assert "custmer" in detail
    assert f"customer ({ISSUER})" in detail


async def test_a_name_that_two_policies_give_to_two_issuers_is_nobodys(database: Database) -> None:
    other = policy(
        issuers={"customer": {"issuer": ADMIN_ISSUER, "audience": AUDIENCE, "jwks": {"url": "https://x.example.com"}}},
        routes={"plain": {"path": "/api/marketing/plain", "upstream": "service"}},
    )
    desk = RevocationDesk(TokenRevocations(database), FactVersions(database), lambda: [policy(), other], lambda: NOW)
    application = control_app(Nothing(), NoKeys(), lambda: SECRET, revocations=desk)
    headers = {"authorization": f"Bearer {SECRET}"}
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control", headers=headers) as http:
        answer = await http.post("/v1/revocations", json={"issuer": "customer", "jti": "t", "reason": "x"})
        assert (answer.status_code, answer.json()["code"]) == (422, "issuer_unknown")
        assert (await http.post("/v1/revocations", json={"issuer": ISSUER, "jti": "t", "reason": "x"})).is_success


async def test_a_gateway_that_does_not_follow_is_named(
    http: httpx2.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apibank.revocation_desk.IN_FORCE_SECONDS", 0)
    await FactVersions(database).report("marketing@host", "marketing", REVOCATIONS, 0)
    answer = await http.post("/v1/revocations", json={"issuer": ISSUER, "jti": "t-1", "reason": "x"})
    assert (answer.status_code, answer.json()["code"]) == (504, "change_not_in_force")
    assert "marketing@host" in answer.json()["detail"]


class Clock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


async def test_what_is_on_the_board_is_what_is_in_force(database: Database) -> None:
    revocations, board, clock = TokenRevocations(database), FactsBoard(), Clock()
    on_board = RevocationsOnBoard(revocations, board, clock)

    async def revoke(hours: int, **what: object) -> None:
        blank: dict[str, object] = {"jti": None, "subject": None, "issued_until": None}
        new = NewRevocation(issuer=ISSUER, until=NOW + hours * HOUR, reason="x", by="ops", **{**blank, **what})  # type: ignore[arg-type]
        await revocations.revoke(new, now=NOW)

    await revoke(1, jti="t-1")
    await revoke(2, jti="t-2")
    await revoke(2, subject="u", issued_until=NOW)
    await revoke(2, subject="u", issued_until=NOW - HOUR)
    assert await on_board.reload() == 4

    def covered(jti: str, subject: str = "", issued_at: float = 0) -> bool:
        return board.current.revocations.covers(ISSUER, jti, subject, issued_at)

    assert covered("t-1")
    assert covered("t-2")
    assert covered("", "u", NOW.timestamp())
    assert not covered("", "u", NOW.timestamp() + 1)
    await revoke(1, subject="u", issued_until=NOW + HOUR)
    assert await on_board.reload() == 5
    clock.now += 3600
    on_board.confirm()
    assert not covered("t-1")
    assert covered("t-2")
    assert covered("", "u", NOW.timestamp())
    clock.now += 3600
    on_board.confirm()
    assert not covered("t-2")
    assert not covered("", "u")
    assert not board.current.revocations.tokens
    assert not board.current.revocations.subjects


def test_the_command_takes_issuer_and_id_from_a_token_and_shows_neither_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def ask(settings: object, method: str, path: str, body: object = None, **_: object) -> object:
        asked.append((method, path, body))
        return {"id": "r_1", "jti": "t-1", "subject": None, "in_force_on": ["a", "b"], "silent": ["c@host"]}

    monkeypatch.setattr(command, "ask", ask)
    text = token()
    (tmp_path / "token").write_text(f"Bearer {text}\n")
    run = CliRunner().invoke
    done = run(app, ["tokens", "revoke", "--token-file", str(tmp_path / "token"), "--reason", "lost"])
    assert done.exit_code == 0, done.output
    assert asked == [("POST", "/v1/revocations", {"issuer": ISSUER, "jti": "t-1", "reason": "lost"})]
    assert "t-1 is refused by 2 processes" in done.stdout
    assert "c@host is silent" in done.stderr
    assert text not in done.output
    assert run(app, ["tokens", "restore", "r_1"]).exit_code == 0
    assert asked[-1] == ("DELETE", "/v1/revocations/r_1", None)


@pytest.mark.parametrize(
    "options",
    [
        ["--jti", "t"],
        ["--issuer", "customer"],
        ["--issuer", "customer", "--jti", "t", "--sub", "u"],
        ["--token-file", "nowhere"],
        ["--token-file", "token", "--jti", "t"],
        ["--token-file", "garbage"],
    ],
)
def test_the_command_says_what_it_lacks(options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("garbage").write_text("a.b.c")
    done = CliRunner().invoke(app, ["tokens", "revoke", "--reason", "x", *options])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
