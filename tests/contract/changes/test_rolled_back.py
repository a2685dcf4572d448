"""What goes on while Envoys refuse what has come since: the policy that it came from is not forgotten."""

import asyncio
from pathlib import Path

from apibank.last_good import unpack
from apibank.stored_policies import policies_in, policy_versions_in
from policy.model import Gateway
from records.database import Database
from records.snapshots import Snapshots
from tests.contract.changes.federation import Running, running
from xds.snapshot import CLUSTER, ROUTE


async def kept(database: str) -> list[Gateway]:
    async with Database(database) as records:
        found = await Snapshots(records).find("shop")
        policies = [] if found is None else list(policies_in(found))
        # What is told without reading it all is the same.
        assert found is None or list(policy_versions_in(found)) == [one.version for one in policies]
        return policies


async def until_kept(database: str, *versions: str) -> None:
    """Until these policies are saved with the last good snapshot."""
    async with asyncio.timeout(10):
        while not set(versions) <= {one.version for one in await kept(database)}:
            await asyncio.sleep(0.05)


def changed(policy: str, number: int) -> str:
    """Its routes are refused, its new upstream is not."""
    text = policy.replace("path: /items", f"path: /bad-{number}")
    return text.replace("upstreams:\n", f'upstreams:\n  new{number}: {{endpoints: ["127.0.0.1:{9100 + number}"]}}\n')


async def test_the_policy_of_refused_routes_is_kept_with_what_is_good(folder: Path, database: str, policy: str) -> None:
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        envoy = await plane.envoy("shop-1")
        first = plane.state["version"]
        await until_kept(database, first)
        envoy.refuse(ROUTE, b"/bad")
        for number in range(3):
            (folder / "shop.yaml").write_text(changed(policy, number))
            await plane.until(lambda number=number: (CLUSTER, f"new{number}") in envoy.has)
            await plane.until(lambda: plane.state["rolled_back"] and plane.state["live"] == 1)
            await until_kept(database, first, plane.state["version"])
        assert len(await kept(database)) == 2
    # Nor does a restart forget it.
    async with Database(database) as records:
        (stored,) = await Snapshots(records).all()
    restored = unpack(stored)
    assert first in {restored.gateway.version, *(one.version for one in restored.earlier)}
    assert b"/items" in restored.snapshot.resources[ROUTE]["mesh"].body
    assert "new2" in restored.snapshot.resources[CLUSTER]


async def test_undoing_the_last_change_undoes_also_what_was_partly_refused(plane: Running, policy: str) -> None:
    envoy = await plane.envoy("shop-1")
    envoy.refuse(ROUTE, b"/bad")
    other = policy.replace("gateway: shop", "gateway: bank")
    await plane.api.post("/v1/policies/apply", json={"gateways": {"bank": {"text": other}}})
    text = other.replace("/items", "/newer")
    await plane.api.post("/v1/policies/apply", json={"gateways": {"bank": {"text": text}}})
    await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": changed(policy, 1)}}})
    await plane.until(lambda: plane.state["rolled_back"])
    await plane.history()
    answer = await plane.api.post("/v1/policies/rollback", json={})
    assert [one["gateway"] for one in answer.json()["rollouts"]] == ["shop"]
    assert (plane.folder / "shop.yaml").read_text() == policy
