"""A gateway whose file is gone goes on, until somebody says that it is not coming back."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from apibank.last_good import LastGood
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from records.database import Database
from records.snapshots import Snapshots
from records.upgrade import upgrade
from tests.contract.changes.federation import Running, running
from xds.snapshot import ROUTE, Snapshot

PATH = "/v1/policies/shop"


async def refused(plane: Running) -> tuple[int, str]:
    answer = await plane.api.delete(PATH)
    return answer.status_code, answer.json()["code"]


async def test_it_is_forgotten_only_when_its_file_and_its_envoys_are_gone(
    plane: Running, folder: Path, database: str
) -> None:
    envoy = await plane.envoy("shop-1")
    assert await refused(plane) == (409, "file_there")
    (folder / "shop.yaml").unlink()
    assert await refused(plane) == (409, "envoys_connected")
    assert (ROUTE, "mesh") in envoy.has
    await envoy.close()
    await plane.until(lambda: plane.publisher.nodes.count("shop") == 0)
    # Its Envoys may come back.
    assert plane.publisher.snapshot("shop")
    assert (await plane.api.delete(PATH)).json() == {"gateway": "shop", "forgotten": True}
    assert plane.publisher.snapshot("shop") is None
    assert plane.plane.states.gateways() == []
    assert plane.plane.control.folder.gateways() == []
    async with Database(database) as records:
        assert await Snapshots(records).find("shop") is None
    assert await refused(plane) == (404, "gateway_not_found")
    assert len(await plane.history()) == 1


async def test_what_was_forgotten_is_not_served_after_a_restart_and_comes_back_with_its_file(
    folder: Path, database: str, policy: str
) -> None:
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        (folder / "shop.yaml").unlink()
        assert (await plane.api.delete(PATH)).status_code == 200
    async with running(folder, database) as plane:
        assert plane.plane.states.gateways() == []
        (folder / "shop.yaml").write_text(policy)
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        await plane.envoy("shop-1")
        assert plane.state["condition"] == "in sync"


async def test_while_the_database_is_away_nothing_is_forgotten(
    plane: Running, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lost(*_: object) -> None:
        raise OperationalError("statement", {}, OSError("connection refused"))

    monkeypatch.setattr(Snapshots, "forget", lost)
    (folder / "shop.yaml").unlink()
    assert await refused(plane) == (503, "database_away")
    assert plane.publisher.snapshot("shop")


async def test_what_is_forgotten_while_it_is_being_saved_stays_forgotten(
    tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing, go_on = threading.Event(), threading.Event()

    def slowly(*_: object) -> bytes:
        packing.set()
        assert go_on.wait(10)
        return b"packed"

    monkeypatch.setattr("apibank.last_good.pack", slowly)
    gateway = load_gateway(Gateway, Source("shop.yaml", policy)).gateway
    url = f"sqlite:///{tmp_path / 'records.db'}"
    await upgrade(url)
    async with Database(url) as database:
        last_good, stop = LastGood(Snapshots(database), lambda *_: [gateway]), asyncio.Event()
        saving = asyncio.create_task(last_good.run(stop))
        last_good.note("shop", Snapshot.of([]))
        assert await asyncio.to_thread(packing.wait, 10)
        await last_good.forget("shop")
        go_on.set()
        stop.set()
        await saving
        assert await Snapshots(database).find("shop") is None
