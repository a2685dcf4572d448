"""Changes that cannot hurt, on real Envoys: rolled back, tried on some first, undone, and waited for."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.client import Client
from tests.support.published import eventually
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens
from tests.support.traffic import GOOD, flow

GATEWAYS = "central,education"
NO_HOST = "127.0.0.1:1"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the stack follows."""
    folder = tmp_path_factory.mktemp("live") / "gateways"
    folder.mkdir()
    for name in GATEWAYS.split(","):
        shutil.copy2(ROOT / "envoy" / "gateways" / f"{name}.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, live: Path) -> Iterator[Stack]:
    """Three Envoys of central, two of education."""
    envoys = ("--envoys", "central=3", "--envoys", "education=2")
    state = tmp_path_factory.mktemp("rollouts") / "state"
    with running_stack(state, "--policies", str(live), "--gateways", GATEWAYS, *envoys) as running:
        yield running


@pytest.fixture
def draft(live: Path, tmp_path: Path) -> Path:
    """A copy of the live folder to edit, as a person would before they apply it."""
    return Path(shutil.copytree(live, tmp_path / "draft", ignore=shutil.ignore_patterns(".*")))


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    file.write_text(text, encoding="utf-8")


def asked(stack: Stack, *arguments: str) -> tuple[int, Any]:
    """The exit code of a command, and what it says in JSON."""
    done = stack.run(*arguments, "-o", "json", check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def row(rows: list[dict[str, Any]], gateway: str) -> dict[str, Any]:
    return next(one for one in rows if one["gateway"] == gateway)


def callers(stack: Stack) -> list[str]:
    tokens, numbers = Tokens(stack.state_dir), iter(range(1000))
    return [tokens.of("education", lambda kind: f"{kind}-rollout-{next(numbers)}") for _ in range(40)]


@contextlib.asynccontextmanager
async def clients(stack: Stack) -> AsyncIterator[Counter[str]]:
    """Everybody on a connection of their own, so that each Envoy of central has its share."""
    tokens = callers(stack)
    url = stack.ready.central.https + "/api/education/math"

    async def send(http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        headers = {"authorization": f"Bearer {tokens[number % len(tokens)]}", "connection": "close"}
        return await http.get(url, headers=headers)

    async with flow(stack, send) as answers:
        yield answers


def test_what_an_envoy_refuses_goes_back_alone_and_is_reported_with_its_line(
    wide: Stack, live: Path, draft: Path
) -> None:
    taken = wide.ready.xds
    edit(
        draft / "education.yaml",
        ("listeners:\n", f"listeners:\n  second:\n    address: {taken}\n"),
        ("routes:\n", "routes:\n  chess:\n    path: /api/education/chess\n    upstream: education-agents\n"),
    )
    line = (draft / "education.yaml").read_text(encoding="utf-8").splitlines().index("  second:") + 1
    code, answer = asked(wide, "policy", "apply", "education", "--policies", str(draft), "--wait", "-m", "a door")
    assert code == 1
    assert row(answer["rollouts"], "education")["rolled_back"]
    shown = wide.run("status", check=False)
    assert shown.returncode == 1
    assert f"education.yaml:{line}: LDS 'second'" in shown.stdout
    assert f"cannot bind '{taken}': Address already in use" in shown.stdout
    with Client(wide.ready) as client:
        # The rest of the same change is there.
        assert client.call("GET", "/api/education/chess", token=callers(wide)[0]).status_code == 200
    code, history = asked(wide, "policy", "history", "education", "--limit", "1")
    assert code == 0
    assert history[0]["result"] == "rolled back"
    assert wide.run("policy", "rollback", "--gateway", "education", "--wait").returncode == 0
    assert wide.run("status").returncode == 0
    assert "  second:\n" not in (live / "education.yaml").read_text(encoding="utf-8")


async def test_a_canary_halts_when_errors_rise_and_the_others_never_see_it(
    wide: Stack, live: Path, draft: Path
) -> None:
    before = (live / "central.yaml").read_text(encoding="utf-8")
    edit(
        draft / "central.yaml",
        ("    path: /api/education\n    listeners: [https]\n    upstream: education-gateway\n",
         "    path: /api/education\n    listeners: [https]\n    upstream: broken\n"),
        ("upstreams:\n", f"upstreams:\n  broken:\n    endpoints: [\"{NO_HOST}\"]\n"),
    )  # fmt: skip
    canary = ("--canary", "34", "--soak", "20", "--wait", "-m", "another backend")
    async with clients(wide) as answers:
        code, answer = await asyncio.to_thread(
            asked, wide, "policy", "apply", "central", "--policies", str(draft), *canary
        )
    assert code == 1
    result = row(answer["rollouts"], "central")
    assert result["result"] == "halted", answer
    assert "errors rose" in str(result), result
    # One of three Envoys had it, for as long as it took to notice.
    assert 0 < sum(answers.values()) - answers[GOOD] < answers[GOOD] / 2
    assert (live / "central.yaml").read_text(encoding="utf-8") == before
    assert wide.run("status").returncode == 0
    async with clients(wide) as answers:
        await asyncio.sleep(1)
    assert set(answers) == {GOOD}


async def test_a_canary_that_holds_becomes_live_everywhere(wide: Stack, live: Path, draft: Path) -> None:
    edit(draft / "central.yaml", ("    path: /api/education\n", "    path: /api/education\n    timeout_ms: 19000\n"))
    canary = ("--canary", "34", "--soak", "3", "--wait", "-m", "more patience")
    async with clients(wide) as answers:
        code, answer = await asyncio.to_thread(
            asked, wide, "policy", "apply", "central", "--policies", str(draft), *canary
        )
    assert code == 0, answer
    assert row(answer["rollouts"], "central")["result"] == "live"
    assert set(answers) == {GOOD}
    assert "19000" in (live / "central.yaml").read_text(encoding="utf-8")
    code, state = asked(wide, "status")
    assert code == 0
    assert (row(state["gateways"], "central")["live"], row(state["gateways"], "central")["envoys"]) == (3, 3)
    assert not list((live / ".candidate").glob("*.yaml"))


async def test_a_canary_that_an_envoy_refuses_halts_at_once(wide: Stack, live: Path, draft: Path) -> None:
    edit(draft / "education.yaml", ("listeners:\n", f"listeners:\n  second:\n    address: {wide.ready.xds}\n"))
    before = (live / "education.yaml").read_text(encoding="utf-8")
    canary = ("--canary", "50", "--soak", "60", "--wait")
    async with clients(wide) as answers:
        code, answer = await asyncio.to_thread(
            asked, wide, "policy", "apply", "education", "--policies", str(draft), *canary
        )
    assert code == 1
    assert row(answer["rollouts"], "education")["result"] == "halted"
    assert "Address already in use" in str(answer)
    assert set(answers) == {GOOD}
    assert (live / "education.yaml").read_text(encoding="utf-8") == before
    assert wide.run("status").returncode == 0


async def test_endpoints_move_while_everything_runs(wide: Stack) -> None:
    place = ("education", "education-agents")
    spare = wide.ready.upstreams["education"].removeprefix("http://")
    async with clients(wide) as answers:
        assert wide.run("endpoints", "set", *place, spare, "127.0.0.1:1").returncode == 0
        await asyncio.sleep(0.5)
        assert wide.run("endpoints", "set", *place, spare).returncode == 0
        await asyncio.sleep(0.5)
        assert wide.run("endpoints", "reset", *place).returncode == 0
    # A host that cannot be reached costs a retry, and no request.
    assert set(answers) == {GOOD}, answers
    assert wide.run("status").returncode == 0


async def test_a_control_plane_that_starts_with_a_broken_file_serves_the_last_good_policy(
    wide: Stack, live: Path
) -> None:
    file = live / "education.yaml"
    good = file.read_text(encoding="utf-8")
    pid = wide.ready.pids["control-plane"]
    async with clients(wide) as answers:
        file.write_text(good.replace("upstream: ", "upstraem: ", 1), encoding="utf-8")
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: not psutil.pid_exists(pid))

        def told() -> bool:
            done = wide.run("status", "-o", "json", check=False)
            if not done.stdout:
                return False
            one = row(json.loads(done.stdout)["gateways"], "education")
            return bool(one["errors"]) and one["live"] == one["envoys"] == 2

        await asyncio.to_thread(_until, told)
    assert set(answers) == {GOOD}, answers
    file.write_text(good, encoding="utf-8")
    await eventually(lambda: wide.run("status", check=False).returncode == 0, 30)


def _until(condition: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.3)
