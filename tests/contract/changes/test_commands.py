"""What people type, against a control plane that runs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from structlog.testing import capture_logs
from typer.testing import CliRunner

from apibank.commands import endpoints, stack
from apibank.commands.changes import register
from apibank.observed import listener_of
from apibank.web import serve_web
from records.policy_history import PolicyHistory, Recorded
from tests.contract.changes.federation import SECRET, Running
from xds.snapshot import ROUTE

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def run(plane: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Run]:
    """`await run("apply", "--wait")`: a command and what became of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "control.token").write_text(SECRET)
    monkeypatch.setenv("APIBANK_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("APIBANK_CONTROL_API", f"http://127.0.0.1:{port}")
    stop = asyncio.Event()
    serving = asyncio.create_task(serve_web([listener_of(plane.app, f"127.0.0.1:{port}")], stop))
    app = typer.Typer()
    register(app)
    app.command("status")(stack.status)
    app.add_typer(endpoints.app, name="endpoints")

    async def command(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, arguments)

    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except OSError:
            await asyncio.sleep(0.02)
    writer.close()
    # What this process logs is not what a command prints.
    with capture_logs():
        yield command
    stop.set()
    await serving


@pytest.fixture
def mine(policy: str, tmp_path: Path) -> Path:
    """Somebody's working copy, with a change."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "shop.yaml").write_text(policy.replace("/items", "/things"))
    return folder


async def test_a_change_is_shown_applied_waited_for_and_undone(plane: Running, run: Run, mine: Path) -> None:
    await plane.envoy("shop-1")
    shown = await run("diff", "--policies", str(mine))
    assert shown.exit_code == 1
    assert "/things" in shown.stdout
    assert "shop.yaml:" in shown.stdout
    applied = await run("apply", "--policies", str(mine), "--wait", "-m", "better names", "-o", "json")
    assert applied.exit_code == 0, applied.output
    (rollout,) = json.loads(applied.stdout)["rollouts"]
    assert (rollout["result"], rollout["live"], rollout["envoys"]) == ("live", 1, 1)
    assert (await run("diff", "--policies", str(mine))).exit_code == 0
    await plane.history()
    listed = await run("history", "shop")
    assert "better names" in listed.stdout
    assert all(len(line) <= 100 for line in listed.stdout.splitlines())
    undone = await run("rollback", "--wait")
    assert undone.exit_code == 0, undone.output
    assert "1 of 1" in undone.stdout


async def test_what_is_wrong_is_printed_with_its_place(run: Run, mine: Path, policy: str) -> None:
    (mine / "shop.yaml").write_text(policy.replace("upstream: shop", "upstraem: shop"))
    refused = await run("apply", "--policies", str(mine))
    assert refused.exit_code == 1
    assert f"error: {mine / 'shop.yaml'}:" in refused.output


async def test_a_canary_that_is_refused_ends_the_command_with_one(plane: Running, run: Run, mine: Path) -> None:
    for node in ("shop-1", "shop-2"):
        (await plane.envoy(node)).refuse(ROUTE, b"/things")
    halted = await run("apply", "--policies", str(mine), "--canary", "50", "--soak", "1", "--wait")
    assert halted.exit_code == 1
    assert "halted" in halted.stdout


async def test_a_change_that_no_envoy_runs_in_time_is_not_live(run: Run, mine: Path) -> None:
    late = await run("apply", "--policies", str(mine), "--wait", "--within", "1")
    assert late.exit_code == 1
    assert "not live in time" in late.stdout


async def test_a_change_from_an_old_version_is_refused(run: Run, mine: Path) -> None:
    refused = await run("apply", "--policies", str(mine), "--base", "shop=0000")
    assert refused.exit_code == 1
    assert "is live, and this change was made from" in refused.output


async def test_a_gateway_that_is_not_coming_back_is_forgotten(plane: Running, run: Run) -> None:
    refused = await run("forget", "shop")
    assert refused.exit_code == 1
    assert "take it away first" in refused.output
    (plane.folder / "shop.yaml").unlink()
    forgotten = await run("forget", "shop")
    assert forgotten.exit_code == 0, forgotten.output
    assert "shop" in forgotten.stdout
    assert plane.plane.states.gateways() == []
    assert (await run("forget", "shop")).exit_code != 0


async def test_endpoints_are_set_shown_and_reset(plane: Running, run: Run) -> None:
    await plane.envoy("shop-1")
    assert (await run("endpoints", "set", "shop", "shop", "127.0.0.1:9005")).exit_code == 0
    assert "127.0.0.1:9005" in (await run("endpoints", "show", "shop", "shop")).stdout
    assert "endpoints set" in (await run("status")).stdout
    assert (await run("endpoints", "reset", "shop", "shop")).exit_code == 0
    assert "127.0.0.1:9005" not in (await run("endpoints", "show", "shop", "shop")).stdout
    assert (await run("endpoints", "set", "shop", "names", "127.0.0.1:9005")).exit_code == 1


async def test_the_status_names_what_was_rolled_back_and_the_changed_route(
    plane: Running, run: Run, mine: Path
) -> None:
    (await plane.envoy("shop-1")).refuse(ROUTE, b"/things")
    waited = await run("apply", "--policies", str(mine), "--wait")
    assert waited.exit_code == 1
    assert "rolled back" in waited.stdout
    shown = await run("status")
    assert shown.exit_code == 1
    assert "Envoy says: the bytes are not to my taste" in shown.stdout
    assert "routes.items" in shown.stdout


@pytest.mark.parametrize("name", ["diff", "apply", "history", "rollback", "forget", "endpoints set"])
async def test_every_command_shows_an_example(run: Run, name: str) -> None:
    assert "Example: apibank" in (await run(*name.split(), "--help")).stdout


async def test_no_number_that_is_none_keeps_a_command_waiting(run: Run, mine: Path) -> None:
    for number in ("nan", "inf", "-1"):
        for option in ("--within", "--soak"):
            answer = await run("apply", "--policies", str(mine), "--wait", option, number)
            assert answer.exit_code == 2
            assert "Traceback" not in answer.output


async def test_what_envoys_say_is_shown_without_what_terminals_obey(plane: Running, run: Run, mine: Path) -> None:
    (await plane.envoy("shop-1")).refuse(ROUTE, b"/things", "\x1b[2J not to my taste\n")
    refused = await run("apply", "--policies", str(mine), "--wait")
    await plane.history()
    for answer in (refused, await run("history"), await run("status")):
        assert "not to my taste" in answer.output
        assert "\x1b" not in answer.output
        assert "taste\n\n\n" not in answer.output


async def test_a_change_that_another_replaced_while_it_was_waited_for_is_not_called_live(
    plane: Running, run: Run, mine: Path, policy: str
) -> None:
    waiting = asyncio.create_task(run("apply", "--policies", str(mine), "--wait", "--within", "20"))
    await plane.until(lambda: "/things" in (plane.folder / "shop.yaml").read_text())
    await plane.until(lambda: plane.plane.rollouts.running("shop") is None)
    (plane.folder / "shop.yaml").write_text(policy.replace("/items", "/newer"))
    answer = await waiting
    assert answer.exit_code == 1
    assert "no longer live" in answer.output


async def test_who_waits_asks_again_while_the_database_is_away(
    plane: Running, run: Run, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.envoy("shop-1")
    find, asked = PolicyHistory.find, []

    async def away(history: PolicyHistory, revision: int) -> Recorded | None:
        asked.append(revision)
        if len(asked) < 3:
            raise OSError("connection refused")
        return await find(history, revision)

    monkeypatch.setattr(PolicyHistory, "find", away)
    applied = await run("apply", "--policies", str(mine), "--wait")
    assert applied.exit_code == 0, applied.output
    assert len(asked) >= 3
