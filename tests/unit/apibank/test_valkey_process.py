"""The embedded Valkey, for real: ready when it answers, gone when told, its data there again."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from os import kill
from pathlib import Path

import psutil
import pytest
from valkey.asyncio import Valkey

from apibank.child_process import Child
from apibank.probes import answers_ping
from apibank.supervisor import BackOff, Supervisor
from apibank.valkey_process import ValkeyProcess, valkey_child


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(params=["port", "socket"])
def process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ValkeyProcess:
    if request.param == "port":
        return ValkeyProcess(port=_free_port())
    return ValkeyProcess(socket=tmp_path_factory.mktemp("s") / "valkey.sock")


@asynccontextmanager
async def supervised(child: Child, folder: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(folder / "logs", lambda event: None, back_off=BackOff(shortest=0.01))
    try:
        await supervisor.start(child)
        yield supervisor
    finally:
        await supervisor.stop()


async def test_it_is_ready_when_it_answers_and_gone_when_it_was_told(process: ValkeyProcess, tmp_path: Path) -> None:
    assert not await answers_ping(process.url)
    async with supervised(valkey_child(process, tmp_path), tmp_path) as supervisor:
        assert await answers_ping(process.url)
        pid = supervisor.pids()["valkey"]
    assert not psutil.pid_exists(pid)
    assert not await answers_ping(process.url)


async def test_counters_are_never_evicted_and_are_flushed_every_second(tmp_path: Path) -> None:
    process = ValkeyProcess(port=_free_port())
    async with supervised(valkey_child(process, tmp_path), tmp_path), Valkey.from_url(process.url) as client:
        configured = await client.config_get("maxmemory-policy", "appendonly", "appendfsync", "bind")
    assert configured == {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "bind": "127.0.0.1",
    }


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_was_counted_is_there_after_a_restart(end: str, tmp_path: Path) -> None:
    process = ValkeyProcess(port=_free_port())
    async with supervised(valkey_child(process, tmp_path), tmp_path) as supervisor:
        async with Valkey.from_url(process.url) as client:
            await client.incrby("hits", 7)
        if end == "kill":
            # Appended but perhaps not flushed: the system has it, and only the system's own crash could lose it.
            pid = supervisor.pids()["valkey"]
            kill(pid, signal.SIGKILL)
            await _until(lambda: supervisor.pids().get("valkey", pid) != pid)
    async with supervised(valkey_child(process, tmp_path), tmp_path), Valkey.from_url(process.url) as client:
        assert await client.get("hits") == b"7"


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_store_that_asks_for_a_password_answers_only_with_it(tmp_path: Path) -> None:
    process = ValkeyProcess(port=_free_port())
    async with supervised(valkey_child(process, tmp_path), tmp_path), Valkey.from_url(process.url) as client:
        await client.config_set("requirepass", "a b/c")
        assert await answers_ping(f"redis://:a%20b%2Fc@127.0.0.1:{process.port}/0")
        assert not await answers_ping(f"redis://:wrong@127.0.0.1:{process.port}/0")
        assert not await answers_ping(process.url)


def test_a_valkey_has_one_address() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        ValkeyProcess()
    with pytest.raises(ValueError, match="exactly one"):
        ValkeyProcess(port=1, socket=Path("/tmp/s"))
    with pytest.raises(ValueError, match="at most 107 bytes"):
        ValkeyProcess(socket=Path("/" + "x" * 107))
