"""What `apibank limits` prints: of figures and times for people, of everything for programs, and who did not answer."""

import json
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from apibank.cli import app

ROW = {
    "gateway": "marketing", "limit": "day", "tier": "free", "counted_as": "tenant:acme", "figure": 10, "unit": "day",
    "remaining": 0, "retry_after_seconds": 58405.2, "reset_seconds": 58405.2, "shadow": False,
}  # fmt: skip
USAGE: dict[str, object] = {
    "usage": [
        ROW,
        ROW | {"tier": "business", "figure": None, "remaining": None, "retry_after_seconds": 0.0, "reset_seconds": 0.0},
        ROW | {"tier": "internal", "figure": 0, "retry_after_seconds": None, "reset_seconds": 0.0},
    ],
    "unanswered": [{"gateway": "central", "detail": "its limits at unix:/x do not answer: gone"}],
}
LIMIT = {
    "gateway": "marketing", "limit": "day", "figures": {"free": 10, "business": None}, "tenants": {"acme": 3000},
    "partners": {"initech": 4000}, "on_store_failure": "local", "shadow": True,
}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What the control API was asked; it answers with the two above."""
    (tmp_path / "control.token").write_text("secret")
    monkeypatch.setenv("APIBANK_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("APIBANK_CONTROL_API", "http://control.test")
    paths: list[str] = []

    def request(method: str, url: str, **_: object) -> httpx2.Response:
        paths.append(f"{method} {url.removeprefix('http://control.test')}")
        return httpx2.Response(200, json=USAGE if "/v1/usage" in url else [LIMIT])

    monkeypatch.setattr(httpx2, "request", request)
    return paths


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["limits", *arguments])


def test_usage_is_told_in_words_that_people_read(asked: list[str]) -> None:
    done = run("usage", "--tenant", "a&b=c", "--tier", "free")
    assert asked == ["GET /v1/usage?tenant=a%26b%3Dc&tier=free"]
    assert done.exit_code == 0
    for words in ("10 a day", "58406 s", "unlimited", "refused", "never", "tenant:acme"):
        assert words in done.stdout
    assert "warning: central is not shown: its limits at unix:/x do not answer: gone" in done.stderr


def test_usage_for_programs_is_all_of_it(asked: list[str]) -> None:
    assert json.loads(run("usage", "marketing", "--address", "::1", "-o", "json").stdout) == USAGE
    assert asked == ["GET /v1/usage?gateway=marketing&address=%3A%3A1"]


def test_limits_are_listed_with_their_figures(asked: list[str]) -> None:
    done = run("list", "marketing")
    assert asked == ["GET /v1/limits?gateway=marketing"]
    for words in ("free 10", "business unlimited", "tenant:acme 3000", "partner:initech 4000"):
        assert words in done.stdout
    assert json.loads(run("list", "-o", "json").stdout) == [LIMIT]
    assert asked[1:] == ["GET /v1/limits"]


def test_what_a_limit_does_in_shadow_and_without_its_store_is_listed(asked: list[str]) -> None:
    heads, row = run("list").stdout.splitlines()
    assert heads.split()[-5:] == ["SHADOW", "ON", "STORE", "FAILURE", "CODE"]
    assert row.split()[-3:] == ["yes", "local", "-"]


def test_a_limit_that_refuses_nobody_says_so_beside_what_is_left(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(USAGE, "usage", [ROW | {"shadow": True}])
    heads, row = run("usage", "--tenant", "acme").stdout.splitlines()
    assert (heads.split()[-1], row.split()[-1]) == ("SHADOW", "yes")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--subject", "jane", "--tenant", "acme"),
            "--subject and --tenant: only one of --subject, --tenant, --partner",
        ),
        (("--tier", "gold"), "'gold' is not one of 'free', 'business', 'enterprise', 'internal'"),
    ],
)
def test_a_question_that_cannot_be_asked_is_named_by_its_options(
    asked: list[str], arguments: tuple[str, ...], said: str
) -> None:
    done = run("usage", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert asked == []


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ([], "error: limit 'health' counts per address: name an address\n"),
        ([{"pointer": "/address", "rule": "'foo' is no IP address"}], "error: --address: 'foo' is no IP address\n"),
        ([{"pointer": "", "rule": "one of both"}], "error: one of both\n"),
    ],
)
def test_a_refusal_is_told_in_its_words_and_with_its_place_if_it_has_one(
    errors: list[dict[str, str]], said: str, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    problem = {"code": "request_invalid", "detail": "limit 'health' counts per address: name an address", "status": 422}
    answer = httpx2.Response(422, json=problem | ({"errors": errors} if errors else {}))
    monkeypatch.setattr(httpx2, "request", lambda *_, **__: answer)
    assert run("usage", "--address", "foo").stderr == said


def test_the_help_says_that_one_caller_is_asked_for(asked: list[str]) -> None:
    said = " ".join(run("usage", "--help").stdout.split())
    assert "At most one of --subject, --tenant, --partner, --agent and --address" in said
