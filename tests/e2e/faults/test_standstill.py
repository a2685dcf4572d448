"""Processes that are killed, and ones that stand still, under load: what clients see of it, and that it passes."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence

import httpx2
import psutil
import pytest

from tests.e2e.faults.processes import paused, process_of
from tests.support.client import Client
from tests.support.published import eventually
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from tests.support.traffic import GOOD, flow

PATHS = {"marketing": "/api/marketing/seo", "education": "/api/education/math", "sales": "/api/sales/leads"}
# Nobody waits for these: what they do is done beside requests, or before.
BESIDE = (("control-plane",), ("telemetry",), ("issuer",))
HEALED = 60.0


def envoy(stack: Stack, gateway: str) -> psutil.Process:
    """By its bootstrap, which bears its name."""
    for one in psutil.Process(stack.process.pid).children(recursive=True):
        if any(word.endswith(f"/envoy/envoy-{gateway}.yaml") for word in one.cmdline()):
            return one
    raise LookupError(f"no Envoy of {gateway}")


def domains(stack: Stack, tokens: Tokens, fresh: Fresh, names: Sequence[str]) -> Callable[..., object]:
    """Requests of one caller to each of these domains in turn."""
    callers = [(PATHS[name], tokens.of(name, fresh)) for name in names for _ in range(5)]

    async def send(http: httpx2.AsyncClient, number: int) -> httpx2.Response:
        path, token = callers[number % len(callers)]
        return await http.get(stack.ready.central.https + path, headers={"authorization": f"Bearer {token}"})

    return send


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("words", BESIDE, ids=lambda words: words[0])
async def test_what_stands_still_beside_requests_costs_none_of_them(
    words: tuple[str, ...], stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    process = process_of(stack, "serve", *words)
    async with flow(stack, domains(stack, tokens, fresh, tuple(PATHS))) as answers:  # type: ignore[arg-type]
        with paused(process):
            await asyncio.sleep(2)
    assert set(answers) == {GOOD}, answers
    await eventually(lambda: stack.run("status", check=False).returncode == 0, HEALED)


@pytest.mark.requirement("R4")
@pytest.mark.parametrize("words", [("telemetry",), ("issuer",), ("portal",)], ids=lambda words: words[0])
async def test_what_is_killed_beside_requests_costs_none_of_them_and_is_started_again(
    words: tuple[str, ...], stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    process = process_of(stack, "serve", *words)
    async with flow(stack, domains(stack, tokens, fresh, tuple(PATHS))) as answers:  # type: ignore[arg-type]
        os.kill(process.pid, signal.SIGKILL)

        def is_another() -> bool:
            try:
                return process_of(stack, "serve", *words).pid != process.pid
            except LookupError:
                return False

        await eventually(is_another, HEALED)
    assert set(answers) == {GOOD}, answers


@pytest.mark.requirement("R1", "R4")
@pytest.mark.parametrize("fault", ["killed", "stands still"])
async def test_a_gateways_envoy_is_its_own_failure(
    fault: str, stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    process, token = envoy(stack, "sales"), tokens.of("sales", fresh)
    others = tuple(name for name in PATHS if name != "sales")
    async with flow(stack, domains(stack, tokens, fresh, others)) as answers:  # type: ignore[arg-type]
        if fault == "killed":
            os.kill(process.pid, signal.SIGKILL)
        else:
            with paused(process), Client(stack.ready, timeout=30) as patient:
                # Central finds its connections dead by their keep-alive, and then says so at once.
                deadline = time.monotonic() + HEALED
                while True:
                    told = await asyncio.to_thread(patient.call, "GET", PATHS["sales"], token=token)
                    assert told.status_code in {503, 504}, told.text
                    if told.status_code == 503 and told.json()["code"] == "service_unavailable":
                        break
                    assert time.monotonic() < deadline, told.text
        await eventually(lambda: client.call("GET", PATHS["sales"], token=token).status_code == 200, HEALED)
    assert set(answers) == {GOOD}, answers
    await eventually(lambda: stack.run("status", check=False).returncode == 0, HEALED)


@pytest.mark.requirement("R4")
async def test_a_portal_that_stands_still_says_so_and_holds_up_nobody(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    process = process_of(stack, "serve", "portal")
    async with flow(stack, domains(stack, tokens, fresh, tuple(PATHS))) as answers:  # type: ignore[arg-type]
        with paused(process), Client(stack.ready, timeout=90) as patient:
            told = await asyncio.to_thread(patient.call, "GET", "/api/openapi.json")
            assert told.status_code in {503, 504}, told.text
            assert told.headers["content-type"] == "application/problem+json"
        await eventually(lambda: client.call("GET", "/api/openapi.json").status_code == 200, HEALED)
    assert set(answers) == {GOOD}, answers
