"""`apibank explain` with credentials, and the control API's answer: every check of every gateway, and no secret."""

import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from pydantic import ValidationError
from typer.testing import CliRunner

from apibank.cli import app
from apibank.examined import Sent, with_checks
from apibank.explain_desk import ExplainDesk
from apibank.explanation import explained
from apibank.facts_at_hand import facts_at_hand
from apibank.policies import PolicyFolder, shipped
from apibank.published import Published
from portal.control_api import control_app
from portal.explain_api import ExplainRequest
from records.database import Database
from records.upgrade import upgrade
from tests.unit.authz.world import CONTENT, claims, compact, rsa_jwk, rsa_key, sign_rs256

ISSUER, AUDIENCE = "https://auth.waooaw.ai", "https://api.waooaw.ai"


def token(**changes: object) -> str:
    """A customer's token of now, whose issuer's key is in the files of these tests."""
    now = int(time.time())
    good = claims(iss=ISSUER, aud=AUDIENCE, iat=now - 10, exp=now + 600, **changes)
    return compact({"alg": "RS256", "kid": "k1"}, good, partial(sign_rs256, key=rsa_key("customer")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped policies, with the customers' key written into them."""
    there = Path(shutil.copytree(shipped("gateways"), tmp_path / "gateways"))
    for name in ("central", "marketing"):
        file = there / f"{name}.yaml"
        policy = yaml.safe_load(file.read_text(encoding="utf-8"))
        policy["issuers"]["customer"]["jwks"] = {"keys": [rsa_jwk(rsa_key("customer"))]}
        del policy["issuers"]["admin"]["jwks"]["url"]
        policy["issuers"]["admin"]["jwks"] = {"keys": [rsa_jwk(rsa_key("admin"))]}
        file.write_text(yaml.safe_dump(policy, sort_keys=False), encoding="utf-8")
    for name in ("platform", "education", "sales", "agents"):
        (there / f"{name}.yaml").unlink()
    return there


def told(folder: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    asked = ["explain", *arguments, "--policies", str(folder), "-o", "json"]
    done = CliRunner().invoke(app, asked)
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout), done.output


def said(hop: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one.get("reason", one["said"]) for one in hop["checks"]}


def file_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "given"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_good_request_passes_both_gateways_and_the_service_is_told_who_it_is(folder: Path, tmp_path: Path) -> None:
    body = tmp_path / "body.json"
    body.write_text(json.dumps(CONTENT), encoding="utf-8")
    code, answer, _ = told(
        folder, "POST", "/api/marketing/content", "--token-file", file_of(tmp_path, token() + "\n"),
        "--body-file", str(body), "--header", "X-User-Id: root",
    )  # fmt: skip
    edge, domain = answer["hops"]
    assert (code, answer["refused"]) == (0, False)
    assert {edge["outcome"], domain["outcome"]} == {"allowed"}
    assert set(said(domain).values()) == {"passed"}
    assert domain["sent_upstream"]["x-waooaw-subject"] == "user_1"
    assert domain["counted_as"] == {"caller": "sub:user_1", "tier": "business"}
    assert domain["removed"] == ["x-user-id"]


def test_every_check_says_what_it_finds_wrong_and_the_first_refusal_is_the_answer(folder: Path, tmp_path: Path) -> None:
    bad = token(scopes=["marketing:read"], tier="gold", role="student")
    code, answer, _ = told(folder, "POST", "/api/marketing/content", "--token", bad)
    edge, domain = answer["hops"]
    assert code == 1
    assert said(edge)["callers"] == "passed"
    assert (said(domain)["callers"], said(domain)["scopes"]) == ("caller_not_admitted", "insufficient_scope")
    assert (said(domain)["tier"], said(domain)["schema"]) == ("tier_unknown", "body_missing")
    assert (answer["status"], answer["by"]) == (403, "central")


@pytest.mark.attack("A58")
def test_no_credential_comes_back_in_any_form(folder: Path, tmp_path: Path) -> None:
    text, key = token(), "waw_live_sk_0123456789ABCDEFGHij"
    (tmp_path / "key").write_text(key, encoding="utf-8")
    for arguments in (
        ("--token", text),
        ("--token", text[:-3]),
        ("--api-key-file", str(tmp_path / "key")),
        ("--header", f"Authorization: Basic {key}"),
        ("--header", f"Cookie: session={text}"),
    ):
        for output in ("table", "json"):
            done = CliRunner().invoke(
                app,
                ["explain", "GET", f"/api/marketing/content?api_key={key}", *arguments, "--policies", str(folder),
                 "-o", output],
            )  # fmt: skip
            for secret in (text, text.split(".")[2][:40], key):
                assert secret not in done.output
            assert "credentials_in_url" in done.output
    done = CliRunner().invoke(
        app, ["explain", "GET", f"/api/marketing/{key}", "--token", text, "--policies", str(folder)]
    )
    assert key not in done.output


def test_a_mode_is_explained_with_what_it_lets_pass(folder: Path) -> None:
    for name in ("central", "marketing"):
        file = folder / f"{name}.yaml"
        file.write_text(file.read_text(encoding="utf-8") + "\nmode: shadow\n", encoding="utf-8")
    code, answer, _ = told(folder, "PUT", "/api/marketing/content", "--address", "192.0.2.1")
    assert (code, answer["refused"]) == (0, False)
    for hop in answer["hops"]:
        assert (hop["mode"], hop["outcome"], hop["refusal"]["reason"]) == ("shadow", "shadowed", "token_missing")
        assert hop["sent_upstream"] == {}
        assert hop["counted_as"] == {"caller": "address:192.0.2.1", "tier": "free"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--token", "x", "--token-file", "y"),
        ("--token-file", "/nowhere"),
        ("--header", "no colon"),
        ("--header", "a: 1", "--header", "A: 2"),
        ("--address", "here"),
        ("--body-file", "/nowhere"),
    ],
)
def test_what_cannot_be_sent_is_said(folder: Path, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["explain", "GET", "/api/marketing/content", *arguments, "--policies", str(folder)])
    assert done.exit_code == 2
    assert "error: " in done.output


class Nothing:
    """The parts of the control API that these tests do not ask."""

    def gateways(self) -> list[Any]:
        return []

    def resources(self) -> list[Any]:
        return []


@asynccontextmanager
async def _database(path: Path) -> AsyncIterator[Database]:
    url = f"sqlite:///{path / 'explain.db'}"
    await upgrade(url)
    async with Database(url) as database:
        yield database


async def test_the_control_api_answers_the_same_with_partner_keys_from_the_database(
    folder: Path, tmp_path: Path
) -> None:
    loaded = PolicyFolder(folder, (), linted=False).load().gateways
    states = {name: Published(gateway=one.gateway, loaded=one) for name, one in loaded.items()}
    async with _database(tmp_path) as database:
        desk = ExplainDesk(states, database)
        key = "waw_live_sk_0123456789ABCDEFGHij"
        asked = {"method": "GET", "path": "/api/marketing/content"}

        async def answer(**options: object) -> Any:
            return await desk.explain(ExplainRequest.model_validate({**asked, **options}))

        with_key = await answer(headers={"X-API-Key": key}, body=None)
        edge, domain = with_key["hops"]
        assert (edge["outcome"], said(domain)["identity"], said(domain)["schema"]) == (
            "denied",
            "key_invalid",
            "passed",
        )
        assert domain["notes"] == []
        assert key not in json.dumps(with_key)
        assert "checks" not in (await answer())["hops"][0]
        mine = await answer(headers={"authorization": f"Bearer {token()}"})
        facts = partial(facts_at_hand, database=database)
        sent = Sent({"authorization": f"Bearer {token()}"})
        here: Any = await with_checks(
            explained(loaded, "GET", asked["path"], "central"), loaded, sent, facts, time.time
        )
        assert mine["hops"][1]["checks"] == here["hops"][1]["checks"]
        assert not mine["refused"]


async def test_the_control_api_explains_only_to_who_knows_its_secret(folder: Path) -> None:
    class Desk:
        async def explain(self, request: object) -> dict[str, object]:
            return {"explained": True}

    application = control_app(Nothing(), Nothing(), lambda: "secret", explanations=Desk())  # type: ignore[arg-type]
    client = TestClient(application)
    wanted = {"method": "GET", "path": "/x", "headers": {"authorization": "Bearer t"}, "body": "e30="}
    assert client.post("/v1/explain", json=wanted).status_code == 401
    knows = {"authorization": "Bearer secret"}
    assert client.post("/v1/explain", json=wanted, headers=knows).json() == {"explained": True}
    for bad in (
        {"method": "get"},
        {"path": "x"},
        {"headers": {"a b": "c"}},
        {"body": "?"},
        {"address": "here"},
        {"x": 1},
    ):
        answer = client.post("/v1/explain", json={**wanted, **bad}, headers=knows)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
        assert "Bearer t" not in answer.text


def test_a_header_that_is_there_twice_in_other_letters_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="there twice"):
        ExplainRequest.model_validate({"method": "GET", "path": "/", "headers": {"X-A": "1", "x-a": "2"}})
