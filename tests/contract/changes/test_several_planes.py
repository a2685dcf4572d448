"""Control planes that share a folder and a database leave alone what another one is making."""

import asyncio
from pathlib import Path

import pytest

from records.change_claims import ChangeClaims
from records.database import Database
from records.policy_history import PolicyHistory, Result
from tests.contract.changes.federation import Running, running
from tests.contract.changes.test_canary import begun, moved, on_some


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apibank.claims.RENEW_SECONDS", 0.05)


async def test_one_that_starts_leaves_the_canary_of_another_alone(
    plane: Running, folder: Path, database: str, policy: str
) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=1.5)
    await on_some(plane, *envoys)
    async with running(folder, database) as replica:
        await replica.until(lambda: "shop" in replica.plane.control.states and replica.state["version"])
        await asyncio.sleep(0.3)
        shown = (await replica.api.get(f"/v1/policies/rollouts/{revision}")).json()
        assert shown["result"] == "running"
        assert (folder / ".candidate" / "shop.yaml").exists()
        assert (await plane.ended(revision))["result"] == "live"
        await replica.until(lambda: replica.state["version"] == plane.state["version"])
    assert [one["result"] for one in await plane.history()] == ["live", "live"]


async def test_while_one_makes_a_change_another_refuses_to(
    plane: Running, folder: Path, database: str, policy: str
) -> None:
    await plane.envoy("shop-1")
    revision = await begun(plane, moved(policy), soak=60.0)
    async with running(folder, database) as replica:
        await replica.until(lambda: "shop" in replica.plane.control.states and replica.state["version"])
        body = {"gateways": {"shop": {"text": moved(policy, "/other")}}}
        answer = await replica.api.post("/v1/policies/apply", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "rollout_running")
        assert f"revision {revision} by another control plane" in answer.json()["detail"]
        assert (folder / "shop.yaml").read_text() == policy


async def test_while_one_makes_a_change_another_moves_no_hosts(
    plane: Running, folder: Path, database: str, policy: str
) -> None:
    await plane.envoy("shop-1")
    await begun(plane, moved(policy), soak=60.0)
    async with running(folder, database) as replica:
        await replica.until(lambda: "shop" in replica.plane.control.states and replica.state["version"])
        path = "/v1/gateways/shop/upstreams/shop/endpoints"
        for answer in (
            await replica.api.put(path, json={"endpoints": ["127.0.0.1:9002"]}),
            await replica.api.delete(path),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "rollout_running")
            assert "by another control plane" in answer.json()["detail"]
        assert (await replica.api.get(path)).json()["overridden"] is False


async def test_what_one_left_that_was_killed_is_closed_by_another_that_runs(
    plane: Running, folder: Path, database: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(folder, database) as killed:
        await killed.until(lambda: "shop" in killed.plane.control.states and killed.state["version"])
        await killed.envoy("shop-1")
        revision = await begun(killed, moved(policy), soak=60.0)
        await killed.until(lambda: killed.state["canary"] and killed.state["canary"]["live"])
        # From now on it says no more, as if it had been killed.
        monkeypatch.setattr(ChangeClaims, "renew", lambda *_: asyncio.Event().wait())
        assert (await plane.api.get(f"/v1/policies/rollouts/{revision}")).json()["result"] == "running"
        monkeypatch.setattr("records.change_claims.LAPSE_SECONDS", 0.2)
        assert (await plane.ended(revision))["result"] == "abandoned"
        await plane.until(lambda: not (folder / ".candidate" / "shop.yaml").exists())
    assert (folder / "shop.yaml").read_text() == policy


async def test_who_was_given_up_gives_its_canary_up(plane: Running, database: str, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    async with Database(database) as records:
        # Deletes the claim, as another control plane does that has waited for long enough.
        await PolicyHistory(records).conclude(revision, Result.RUNNING)
    shown = await plane.ended(revision)
    assert shown["result"] == "abandoned"
    assert "another control plane" in shown["detail"]
    await plane.until(lambda: plane.state["live"] == 2)
    assert (plane.folder / "shop.yaml").read_text() == policy


async def test_one_that_is_stopped_says_itself_what_became_of_its_canary(
    folder: Path, database: str, policy: str
) -> None:
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        await plane.envoy("shop-1")
        revision = await begun(plane, moved(policy), soak=60.0)
    async with Database(database) as records:
        found = await PolicyHistory(records).find(revision)
        assert found is not None
        assert found.entry.result is Result.ABANDONED
        assert await ChangeClaims(records).held() == []
