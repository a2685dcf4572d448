"""What `apibank limits` prints: of figures and times for people, of everything for programs, and who did not answer."""

import json
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner, Result

from apibank.cli import app

ROW = {
    "gateway": "marketing", "limit": "day", "tier": "free", "counted_as": "tenant:acme", "figure": 10, "unit": "day",
    "remaining": 0, "retry_after_seconds": 58405.2, "reset_seconds": 58405.2,
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
    "partners": {"initech": 4000},
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
