"""Changes under traffic: a saved policy, a broken one, and a control plane that dies."""

import asyncio
import contextlib
import os
import signal
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.support.client import Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens


@contextlib.asynccontextmanager
async def traffic(stack: Stack, path: str, tokens: list[str]) -> AsyncIterator[Counter[str]]:
    """A steady flow of requests, fifty a second, for as long as the block lasts; counts what was answered."""
    answers: Counter[str] = Counter()
    context = ssl.create_default_context(cafile=stack.ca_file)
    stopping = asyncio.Event()

    async def flow() -> None:
        number = 0
        async with httpx2.AsyncClient(verify=context, timeout=10) as http:
            while not stopping.is_set():
                number += 1
                token = tokens[number % len(tokens)]
                try:
                    answer = await http.get(
                        stack.ready.central.https + path, headers={"authorization": f"Bearer {token}"}
                    )
                    answers["good" if answer.status_code == 200 else answer.text] += 1
                except httpx2.HTTPError as error:
                    answers[repr(error)] += 1
                await asyncio.sleep(0.02)

    flowing = asyncio.create_task(flow())
    try:
        await asyncio.sleep(0.3)
        yield answers
        await asyncio.sleep(0.3)
    finally:
        stopping.set()
        await flowing


async def eventually(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until something is so, for a bounded time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.05)


def _replace(path: Path, old: str, new: str) -> str:
    """Edit a file as editors do: a new file takes the old one's place. Returns the text before."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    partial = path.with_suffix(".tmp")
    partial.write_text(text.replace(old, new), encoding="utf-8")
    partial.replace(path)
    return text


@pytest.mark.requirement("R5", "U2", "U5")
async def test_a_saved_policy_takes_effect_with_no_failed_request(
    stack: Stack, policies: Path, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    file = policies / "education.yaml"
    token = tokens.of("education", fresh)
    callers = [tokens.of("education", fresh) for _ in range(10)]
    assert client.call("GET", "/api/education/chess", token=token).status_code == 404
    before = file.read_text(encoding="utf-8")
    try:
        async with traffic(stack, "/api/education/math", callers) as answers:
            _replace(
                file,
                "routes:\n",
                "routes:\n  chess:\n    path: /api/education/chess\n    upstream: education-agents\n",
            )
            await eventually(lambda: client.call("GET", "/api/education/chess", token=token).status_code == 200)
        assert set(answers) == {"good"}, answers
    finally:
        file.write_text(before, encoding="utf-8")
    await eventually(lambda: client.call("GET", "/api/education/chess", token=token).status_code == 404)


@pytest.mark.requirement("R4", "R5")
async def test_a_broken_policy_changes_nothing_says_why_and_holds_up_nobody_else(
    stack: Stack, policies: Path, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    broken, good = policies / "sales.yaml", policies / "education.yaml"
    sales, education = tokens.of("sales", fresh), tokens.of("education", fresh)
    before = broken.read_text(encoding="utf-8"), good.read_text(encoding="utf-8")
    try:
        _replace(broken, "upstream: sales-agents", "upstraem: sales-agents")
        _replace(good, "routes:\n", "routes:\n  go:\n    path: /api/education/go\n    upstream: education-agents\n")
        await eventually(lambda: client.call("GET", "/api/education/go", token=education).status_code == 200)
        assert client.call("GET", "/api/sales/leads", token=sales).status_code == 200
        await eventually(lambda: "upstraem" in stack.run("status", check=False).stdout)
        shown = stack.run("status", check=False)
        assert shown.returncode == 1
        assert "sales.yaml:" in shown.stdout
    finally:
        broken.write_text(before[0], encoding="utf-8")
        good.write_text(before[1], encoding="utf-8")
    await eventually(lambda: stack.run("status", check=False).returncode == 0)


@pytest.mark.requirement("R4")
async def test_the_control_plane_can_be_killed_with_no_failed_request(
    stack: Stack, policies: Path, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    callers = [tokens.of("education", fresh) for _ in range(10)]
    token = tokens.of("education", fresh)
    pid = stack.ready.pids["control-plane"]
    file = policies / "education.yaml"
    before = file.read_text(encoding="utf-8")
    try:
        async with traffic(stack, "/api/education/math", callers) as answers:
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: not psutil.pid_exists(pid))
            await asyncio.sleep(1)
            # The one that takes its place reaches the Envoys: a change goes through.
            _replace(
                file, "routes:\n", "routes:\n  ludo:\n    path: /api/education/ludo\n    upstream: education-agents\n"
            )
            await eventually(lambda: client.call("GET", "/api/education/ludo", token=token).status_code == 200, 30)
        assert set(answers) == {"good"}, answers
    finally:
        file.write_text(before, encoding="utf-8")
    await eventually(lambda: client.call("GET", "/api/education/ludo", token=token).status_code == 404)


def _service_pid(stack: Stack, name: str) -> int | None:
    """The process of a gateway's services now: the supervisor may have started another since."""
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(process.cmdline())
            if f"serve gateway {name}" in line:
                return process.pid
    return None


@pytest.mark.requirement("R1", "R4", "U4")
def test_a_gateway_whose_services_are_killed_refuses_and_the_others_serve(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    pid = _service_pid(stack, "sales")
    assert pid is not None
    before = client.hits("sales")
    # Stopped first, so that nothing answers while its supervisor starts another; then killed.
    os.kill(pid, signal.SIGSTOP)
    try:
        refused = client.call("GET", "/api/sales/leads", token=tokens.of("sales", fresh))
        assert problem(refused)["status"] == 503
        for gateway, path in (("marketing", "/api/marketing/seo"), ("education", "/api/education/math")):
            assert client.call("GET", path, token=tokens.of(gateway, fresh)).status_code == 200
        assert client.call("GET", "/api/platform/health").status_code in {200, 429}
        assert client.hits("sales") == before
    finally:
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    token = tokens.of("sales", fresh)
    while client.call("GET", "/api/sales/leads", token=token).status_code != 200:
        assert time.monotonic() < deadline, "the supervisor did not bring the services back"
        time.sleep(0.2)
