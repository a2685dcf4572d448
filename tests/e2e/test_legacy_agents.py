"""The old list of agents at /api/agents, under its profile: kept for a time, and nothing else of the agents (C10)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backend import backend
from tests.support.client import Client, problem
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Fresh, Tokens

HERE = """\
profile: here
description: Where the old backend is.
gateways:
  central:
    upstreams: {{legacy-backend: {{endpoints: ["127.0.0.1:{port}"]}}}}
    routes: {{legacy-agents: {{deprecation: {{removed: {removed}}}}}}}
"""


@pytest.fixture(scope="module", params=["false", "true"], ids=["deprecated", "removed"])
def legacy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, bool]]:
    """A federation with the profile, and whether the list has been removed."""
    folder: Path = tmp_path_factory.mktemp("legacy")
    overlay = folder / "here.yaml"
    profiles = ("--profile", "dev", "--profile", "legacy-agents", "--profile", str(overlay))
    with backend() as port:
        overlay.write_text(HERE.format(port=port, removed=request.param), encoding="utf-8")
        with running_stack(folder / "state", "--gateways", "agents", *profiles) as running:
            yield running, request.param == "true"


@pytest.mark.requirement("R112", "R64")
def test_the_old_list_says_until_when_it_is_there_and_then_is_gone(legacy: tuple[Stack, bool], fresh: Fresh) -> None:
    stack, removed = legacy
    token = Tokens(stack.state_dir).customer(sub=fresh("user"), role="customer", tier="free", scopes=[])
    with Client(stack.ready) as client:
        known = client.call("GET", "/api/agents", token=token)
        silent = client.call("GET", "/api/agents")
        if removed:
            assert [problem(one)["code"] for one in (known, silent)] == ["gone", "gone"]
            assert known.status_code == 410
        else:
            assert known.status_code == 200, known.text
            assert known.json()["headers"]["x-waooaw-subject"].startswith("user")
            assert problem(silent)["code"] == "token_missing"
            assert client.call("POST", "/api/agents", token=token, json={}).status_code == 405
        for answer in (known, silent):
            assert answer.headers["deprecation"] == "@1793491200"
            assert answer.headers["sunset"] == "Sat, 01 May 2027 00:00:00 GMT"
        # What is below it is the agents' own, and not outside.
        for path in ("/api/agents/", "/api/agents/vision", "/api/agents/orchestration", "/api/agents/7"):
            assert client.call("GET", path, token=token).status_code == 404, path
