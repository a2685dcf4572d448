"""What survives a restart of the control plane, and a database that is away."""

import asyncio
import zlib
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from apibank.last_good import pack
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from records.database import Database
from records.policy_history import PolicyHistory, Result
from records.snapshots import Snapshots
from tests.contract.changes.federation import Running, running
from xds.compiler import Material, compile_
from xds.snapshot import ENDPOINT, ROUTE


async def saved(database: str) -> str | None:
    async with Database(database) as records:
        found = await Snapshots(records).find("shop")
        return None if found is None else found.version


async def until_saved(plane: Running, database: str) -> None:
    intended = plane.publisher.intended("shop")
    assert intended is not None
    async with asyncio.timeout(10):
        while await saved(database) != intended.version:
            await asyncio.sleep(0.05)


async def test_a_file_that_is_broken_at_the_start_leaves_the_gateway_serving(folder: Path, database: str) -> None:
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        await plane.envoy("shop-1")
        await until_saved(plane, database)
        version = plane.state["version"]
    (folder / "shop.yaml").write_text("gateway: shop\n")
    async with running(folder, database) as plane:
        envoy = await plane.envoy("shop-1")
        await plane.until(lambda: plane.state["errors"])
        assert (plane.state["version"], plane.state["restored"], plane.state["live"]) == (version, True, 1)
        assert (ROUTE, "mesh") in envoy.has


async def test_an_unchanged_file_gives_the_same_snapshot_after_a_restart_and_no_new_entry(
    folder: Path, database: str
) -> None:
    versions = []
    for _ in range(2):
        async with running(folder, database) as plane:
            await plane.until(lambda: "shop" in plane.plane.control.states and not plane.state["restored"])
            await plane.until(lambda: plane.publisher.intended("shop"))
            await plane.envoy("shop-1")
            await until_saved(plane, database)
            versions.append(plane.publisher.intended("shop"))
            assert len(await plane.history()) == 1
            await plane.until(lambda: plane.state["revision"] == 1)
    assert versions[0] is not None
    assert versions[1] is not None
    assert versions[0].version == versions[1].version


async def test_what_was_being_tried_when_the_process_ended_is_abandoned(
    folder: Path, database: str, policy: str
) -> None:
    text = policy.replace("/items", "/things")
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        await plane.envoy("shop-1")
        body = {"gateways": {"shop": {"text": text}}, "canary": {"percent": 50, "soak": 60}}
        (rollout,) = (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"]
        await plane.until(lambda: plane.state["canary"] and plane.state["canary"]["live"])
    # As a process leaves it that is killed.
    (folder / ".candidate" / "shop.yaml").write_text(text)
    async with Database(database) as records:
        await PolicyHistory(records).conclude(rollout["revision"], Result.RUNNING)
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and not plane.state["restored"])
        assert not (folder / ".candidate" / "shop.yaml").exists()
        shown = await plane.ended(rollout["revision"])
        assert shown["result"] == "abandoned"
        envoy = await plane.envoy("shop-1")
        assert b"/items" in envoy.has[ROUTE, "mesh"]


async def test_endpoints_that_were_set_survive_until_the_file_names_others(
    folder: Path, database: str, policy: str
) -> None:
    path = "/v1/gateways/shop/upstreams/shop/endpoints"
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        envoy = await plane.envoy("shop-1")
        routes = envoy.has[ROUTE, "mesh"]
        answer = await plane.api.put(path, json={"endpoints": ["127.0.0.77:9002"]})
        assert answer.json()["overridden"]
        await plane.until(lambda: b"127.0.0.77" in envoy.has[ENDPOINT, "shop"])
        assert envoy.has[ROUTE, "mesh"] is routes
        assert [one["upstream"] for one in plane.state["endpoints"]] == ["shop"]
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and not plane.state["restored"])
        envoy = await plane.envoy("shop-1")
        await plane.until(lambda: b"127.0.0.77" in envoy.has[ENDPOINT, "shop"])
        (folder / "shop.yaml").write_text(policy.replace("127.0.0.1:9001", "127.0.0.99:9001"))
        await plane.until(lambda: b"127.0.0.99" in envoy.has[ENDPOINT, "shop"])
        assert plane.state["endpoints"] == []
        assert not (await plane.api.get(path)).json()["overridden"]


async def test_endpoints_that_another_replica_sets_are_sent_by_this_one_too(
    plane: Running, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apibank.plane._ENDPOINTS_PAUSE_SECONDS", 0.05)
    path = "/v1/gateways/shop/upstreams/shop/endpoints"
    envoy = await plane.envoy("shop-1")
    before = envoy.has[ENDPOINT, "shop"]
    async with running(folder, database) as replica:
        await replica.until(lambda: "shop" in replica.plane.control.states and replica.state["version"])
        other = await replica.envoy("shop-2")
        await replica.api.put(path, json={"endpoints": ["127.0.0.77:9002"]})
        await plane.until(lambda: b"127.0.0.77" in envoy.has[ENDPOINT, "shop"])
        await plane.api.delete(path)
        await replica.until(lambda: other.has[ENDPOINT, "shop"] == before)
        assert replica.state["endpoints"] == []


async def test_endpoints_are_reset_refused_and_unknown(plane: Running) -> None:
    envoy = await plane.envoy("shop-1")
    path = "/v1/gateways/shop/upstreams/shop/endpoints"
    before = envoy.has[ENDPOINT, "shop"]
    await plane.api.put(path, json={"endpoints": ["127.0.0.77:9002"]})
    await plane.until(lambda: envoy.has[ENDPOINT, "shop"] != before)
    assert not (await plane.api.delete(path)).json()["overridden"]
    await plane.until(lambda: envoy.has[ENDPOINT, "shop"] == before)
    for wanted, status in (
        (path.replace("/shop/endpoints", "/names/endpoints"), 409),
        (path.replace("/shop/endpoints", "/none/endpoints"), 404),
        (path.replace("gateways/shop", "gateways/bank"), 404),
    ):
        assert (await plane.api.put(wanted, json={"endpoints": ["127.0.0.1:1"]})).status_code == status
    for bad in ("nonsense", "shop.example:80", "127.0.0.1:99999"):
        assert (await plane.api.put(path, json={"endpoints": [bad]})).status_code == 422


async def test_a_database_that_is_away_holds_up_no_file_but_every_apply(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await plane.history()

    async def lost(*_: object) -> int:
        raise OperationalError("statement", {}, OSError("connection refused"))

    with monkeypatch.context() as away:
        away.setattr(PolicyHistory, "begin", lost)
        away.setattr(PolicyHistory, "add_live", lost)
        (plane.folder / "shop.yaml").write_text(policy.replace("/items", "/things"))
        before = plane.state["version"]
        await plane.until(lambda: plane.state["version"] != before)
        body = {"gateways": {"shop": {"text": policy.replace("/items", "/other")}}}
        answer = await plane.api.post("/v1/policies/apply", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_away")
        assert (plane.folder / "shop.yaml").read_text() == policy.replace("/items", "/things")
    # It is back: the file's change is written now.
    assert len(await plane.history()) == 2
    assert (await plane.api.post("/v1/policies/apply", json=body)).status_code == 202


def test_a_saved_snapshot_holds_no_secret(tmp_path: Path, policy: str) -> None:
    text = policy.replace("listeners:\n", "certificates: {edge: {chain_file: c.pem, key_file: k.pem}}\nlisteners:\n")
    text = text.replace(
        'mesh: {address: "127.0.0.1:9000"}', 'mesh: {address: "127.0.0.1:9000", tls: {certificate: edge}}'
    )
    loaded = load_gateway(Gateway, Source("shop.yaml", text))
    material = {"c.pem": Material(b"the chain"), "k.pem": Material(b"the private key")}
    versions, _, packed = pack(loaded.gateway, compile_(loaded, material)).partition(b"\n")
    assert versions.decode().endswith(loaded.gateway.version)
    body = zlib.decompress(packed)
    assert b"the private key" not in body
    assert b"dGhlIHByaXZhdGUga2V5" not in body
    assert b"certificate/edge" in body
