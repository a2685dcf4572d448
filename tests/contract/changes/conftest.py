"""A control plane over a folder with one gateway, and authorization that knows every version."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from records.upgrade import upgrade
from tests.contract.changes.federation import POLICY, Authorization, Running, authorization, running


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the newest tables, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "records.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> str:
    shutil.copy(migrated, tmp_path / "records.db")
    return f"sqlite:///{tmp_path / 'records.db'}"


@pytest.fixture
async def authz() -> AsyncIterator[tuple[Authorization, int]]:
    async with authorization() as one:
        yield one


@pytest.fixture
def policy(authz: tuple[Authorization, int]) -> str:
    """The gateway's file, as it is live at first."""
    return POLICY.replace("AUTHZ", str(authz[1]))


@pytest.fixture
def folder(policy: str, tmp_path: Path) -> Path:
    gateways = tmp_path / "gateways"
    gateways.mkdir()
    (gateways / "shop.yaml").write_text(policy, encoding="utf-8")
    return gateways


@pytest.fixture
async def plane(folder: Path, database: str) -> AsyncIterator[Running]:
    async with running(folder, database) as one:
        await one.until(lambda: "shop" in one.plane.control.states and one.state["version"] is not None)
        yield one
