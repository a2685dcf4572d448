"""The durable audit of a real gateway process, while its database, its disk and itself come and go."""

import asyncio
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.contract.audit.gateway import SECONDS, Service, rows, served, until_stored


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'apibank.db'}"


@contextmanager
def unwritable(database: str) -> Iterator[None]:
    """Hold SQLite's write lock: nobody else's transaction begins."""
    holder = sqlite3.connect(database.removeprefix("sqlite:///"), isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def names(first: int, last: int) -> list[str]:
    return [f"r{number}" for number in range(first, last)]


@pytest.mark.requirement("R20", "R36")
async def test_what_was_answered_is_a_row_soon_after(tmp_path: Path, database: str) -> None:
    with served(tmp_path, database) as service:
        assert set((await service.ask(names(0, 100))).values()) == {"allowed"}
        assert sorted(await until_stored(service, 100)) == sorted(names(0, 100))
        assert service.metric("apibank_audit_kept_total") == 100
        assert service.metric("apibank_audit_stored_total") == 100


@pytest.mark.requirement("R36")
async def test_while_the_database_is_away_requests_are_answered_and_nothing_is_lost(
    tmp_path: Path, database: str
) -> None:
    with served(tmp_path, database) as service:
        with unwritable(database):
            assert set((await service.ask(names(0, 200))).values()) == {"allowed"}
            assert await rows(database) == []
            assert service.metric("apibank_audit_oldest_unsent_seconds") > 0
            assert service.metric("apibank_audit_spool_bytes") > 0
        assert sorted(await until_stored(service, 200)) == sorted(names(0, 200))


@pytest.mark.requirement("R36")
async def test_a_gateway_that_is_killed_while_the_database_is_away_loses_nothing_that_it_answered(
    tmp_path: Path, database: str
) -> None:
    with served(tmp_path, database) as service:
        with unwritable(database):
            answers = await service.ask(names(0, 200))
            service.end(signal.SIGKILL)
        assert set(answers.values()) == {"allowed"}
        service.start()
        assert sorted(await until_stored(service, 200)) == sorted(names(0, 200))


async def test_a_gateway_that_is_stopped_leaves_nothing_behind_that_was_stored(tmp_path: Path, database: str) -> None:
    with served(tmp_path, database) as service:
        await service.ask(names(0, 20))
        service.end()
        assert len(await rows(database)) == 20
        assert list((service.state_dir / "audit").rglob("*.spool")) == []
        assert len(list((service.state_dir / "audit").rglob("anchor.json"))) == 1


@pytest.mark.requirement("R36")
async def test_a_full_spool_refuses_and_alarms_until_the_database_is_back(tmp_path: Path, database: str) -> None:
    with served(tmp_path, database, APIBANK_AUDIT_SPOOL_MIB="1") as service:
        answers: dict[str, str] = {}
        with unwritable(database):
            while "audit_unavailable" not in answers.values():
                answers |= await service.ask(names(len(answers), len(answers) + 500))
            assert service.metric("apibank_audit_dropped_total", reason="spool_full") >= 1
            assert service.metric("apibank_audit_spool_bytes") <= 1024 * 1024
        assert set(answers.values()) == {"allowed", "audit_unavailable"}
        allowed = [name for name, answer in answers.items() if answer == "allowed"]
        assert sorted(await until_stored(service, len(allowed))) == sorted(allowed)
        assert await service.ask(["again"]) == {"again": "allowed"}


@pytest.mark.requirement("R36")
async def test_a_full_disk_refuses_and_alarms_until_there_is_room(tmp_path: Path, database: str) -> None:
    with served(tmp_path, database) as service:
        assert service.process is not None
        process = psutil.Process(service.process.pid)
        before = process.rlimit(resource.RLIMIT_FSIZE)
        answers = await service.ask(names(0, 10))
        process.rlimit(resource.RLIMIT_FSIZE, (16 * 1024, before[1]))
        while "audit_unavailable" not in answers.values():
            answers |= await service.ask(names(len(answers), len(answers) + 10))
        assert service.metric("apibank_audit_dropped_total", reason="disk") >= 1
        process.rlimit(resource.RLIMIT_FSIZE, before)
        answers |= await service.ask(["again"])
        assert answers["again"] == "allowed"
        allowed = [name for name, answer in answers.items() if answer == "allowed"]
        assert sorted(await until_stored(service, len(allowed))) == sorted(allowed)


async def test_a_gateway_without_a_spool_refuses_what_must_be_recorded_and_serves_again_when_it_has_one(
    tmp_path: Path, database: str
) -> None:
    folder = tmp_path / "state" / "audit"
    folder.mkdir(parents=True)
    in_the_way = folder / "platform"
    in_the_way.write_text("not a folder")
    with served(tmp_path, database) as service:
        assert await service.ask(["r1"]) == {"r1": "audit_unavailable"}
        assert service.metric("apibank_audit_dropped_total", reason="no_spool") == 1
        in_the_way.unlink()
        answer = "audit_unavailable"
        while answer == "audit_unavailable":
            (answer,) = (await service.ask(["r2"])).values()
        assert answer == "allowed"


async def test_two_processes_of_one_gateway_make_one_chain(tmp_path: Path, database: str) -> None:
    with served(tmp_path / "a", database) as one, served(tmp_path / "b", database) as other:
        answers = [await each.ask(names(start, start + 100)) for each, start in ((one, 0), (other, 100))]
        assert {answer for each in answers for answer in each.values()} == {"allowed"}
        await until_stored(one, 200)
        assert sorted(await until_stored(other, 200)) == sorted(names(0, 200))


def held_folders(service: Service) -> list[str]:
    return sorted(path.name for path in (service.state_dir / "audit" / "platform").iterdir())


async def test_two_processes_with_one_state_directory_have_spools_of_their_own(tmp_path: Path, database: str) -> None:
    with served(tmp_path / "a", database) as one, served(tmp_path / "b", database) as other:
        assert held_folders(one) == ["1"]
        other.end()
        other.state_dir = one.state_dir
        other.start()
        assert held_folders(one) == ["1", "2"]
        assert set((await other.ask(names(0, 10))).values()) == {"allowed"}
        assert len(await until_stored(other, 10)) == 10


async def test_a_gateway_starts_while_its_database_is_away_and_stores_what_it_answered_once_that_is_back(
    tmp_path: Path,
) -> None:
    in_the_way = tmp_path / "records"
    in_the_way.write_text("no folder, and so no database in it")
    with served(tmp_path, f"sqlite:///{in_the_way / 'apibank.db'}") as service:
        assert set((await service.ask(names(0, 20))).values()) == {"allowed"}
        in_the_way.unlink()
        async with asyncio.timeout(SECONDS):
            while service.metric("apibank_audit_stored_total") < 20:
                await asyncio.sleep(0.1)
        assert sorted(await until_stored(service, 20)) == sorted(names(0, 20))
