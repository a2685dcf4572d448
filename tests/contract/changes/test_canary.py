"""A change is tried on some Envoys first, and goes on only if it does no harm there."""

import asyncio
from typing import Any

import pytest

from tests.contract.changes.federation import Authorization, Envoy, Running
from xds.load_reports.reports import Traffic
from xds.snapshot import ROUTE


def moved(policy: str, path: str = "/things") -> str:
    return policy.replace("path: /items", f"path: {path}")


async def begun(plane: Running, text: str, percent: int = 50, soak: float = 0.3, within: float = 5.0) -> int:
    plan = {"percent": percent, "soak": soak, "within": within}
    answer = await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": text}}, "canary": plan})
    assert answer.status_code == 202, answer.text
    (rollout,) = answer.json()["rollouts"]
    assert rollout["result"] == "running"
    return int(rollout["revision"])


def runs(envoy: Envoy, path: bytes) -> bool:
    return path in envoy.has[ROUTE, "mesh"]


async def on_some(plane: Running, *envoys: Envoy) -> list[bool]:
    """Which of them run the candidate, once some do."""
    await plane.until(lambda: any(runs(one, b"/things") for one in envoys))
    return [runs(one, b"/things") for one in envoys]


async def test_a_candidate_that_holds_becomes_the_file_and_is_live_everywhere(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=1.0)
    assert sum(await on_some(plane, *envoys)) == 1
    canary: dict[str, Any] = plane.state["canary"]
    assert (canary["percent"], len(canary["nodes"])) == (50, 1)
    assert (plane.folder / ".candidate" / "shop.yaml").read_text() == moved(policy)
    assert (plane.folder / "shop.yaml").read_text() == policy
    shown = await plane.ended(revision)
    assert (shown["result"], shown["canary_percent"]) == ("live", 50)
    await plane.until(lambda: plane.state["live"] == 2)
    assert all(runs(one, b"/things") for one in envoys)
    assert (plane.folder / "shop.yaml").read_text() == moved(policy)
    assert not (plane.folder / ".candidate" / "shop.yaml").exists()
    assert plane.state["canary"] is None
    assert plane.state["revision"] == revision


async def test_a_refusal_halts_the_canary_and_says_why(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    for one in envoys:
        one.refuse(ROUTE, b"/things")
    shown = await plane.ended(await begun(plane, moved(policy)))
    assert shown["result"] == "halted"
    assert "not to my taste" in shown["detail"]
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert not (plane.folder / ".candidate" / "shop.yaml").exists()
    await plane.until(lambda: plane.state["live"] == 2)
    assert all(runs(one, b"/items") for one in envoys)


async def test_a_rise_of_errors_halts_the_canary(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    (node,) = plane.state["canary"]["nodes"]
    (other,) = {"shop-1", "shop-2"} - {node}
    plane.traffic.figures = {node: Traffic(100, 50), other: Traffic(100, 0)}
    shown = await plane.ended(revision)
    assert shown["result"] == "halted"
    assert "errors rose" in shown["detail"]
    await plane.until(lambda: all(runs(one, b"/items") for one in envoys))


async def test_a_file_that_is_saved_meanwhile_wins(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    (plane.folder / "shop.yaml").write_text(moved(policy, "/newer"))
    assert (await plane.ended(revision))["result"] == "abandoned"
    await plane.until(lambda: all(runs(one, b"/newer") for one in envoys))
    assert (plane.folder / "shop.yaml").read_text() == moved(policy, "/newer")


async def test_while_one_is_tried_no_other_change_begins(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    body = {"gateways": {"shop": {"text": moved(policy, "/other")}}}
    for answer in await asyncio.gather(
        plane.api.post("/v1/policies/apply", json=body),
        plane.api.put("/v1/gateways/shop/upstreams/shop/endpoints", json={"endpoints": ["127.0.0.1:1"]}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "rollout_running")


async def test_a_candidate_that_authorization_does_not_know_reaches_no_envoy(
    plane: Running, policy: str, authz: tuple[Authorization, int]
) -> None:
    envoy = await plane.envoy("shop-1")
    authz[0].knows = False
    shown = await plane.ended(await begun(plane, moved(policy), within=0.5))
    assert shown["result"] == "halted"
    assert "does not decide by the candidate" in shown["detail"]
    assert runs(envoy, b"/items")


async def test_what_the_others_refuse_after_the_canary_is_told_of_the_change_that_was_promoted(
    plane: Running, policy: str
) -> None:
    envoys = {name: await plane.envoy(name) for name in ("shop-1", "shop-2", "shop-3", "shop-4")}
    revision = await begun(plane, moved(policy), percent=25, soak=1.0)
    await on_some(plane, *envoys.values())
    (canary,) = plane.state["canary"]["nodes"]
    for name, envoy in envoys.items():
        if name != canary:
            envoy.refuse(ROUTE, b"/things")
    await plane.until(lambda: plane.state["rolled_back"] and plane.state["canary"] is None)
    newest, first = await plane.history()
    assert (newest["revision"], newest["result"]) == (revision, "rolled back")
    assert first["result"] == "live"


async def test_who_tries_a_candidate_is_not_called_behind(plane: Running, policy: str) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    await plane.until(lambda: plane.state["canary"]["live"])
    assert plane.state["behind"] == []


async def test_a_canary_that_goes_well_is_a_condition_of_its_own(plane: Running, policy: str) -> None:
    assert plane.state["condition"] == "out of sync"
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    assert plane.state["condition"] == "in sync"
    revision = await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    assert plane.state["condition"] == "canary running"
    (plane.folder / "shop.yaml").write_text("gateway: shop\n")
    await plane.until(lambda: plane.state["condition"] == "out of sync")
    await plane.ended(revision)


@pytest.mark.parametrize("saved", ["gateway: shop\n", "\x00", None], ids=["broken", "no text", "taken away"])
async def test_a_broken_file_that_is_saved_meanwhile_is_kept_and_the_base_goes_on(
    plane: Running, policy: str, saved: str | None
) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    revision = await begun(plane, moved(policy), soak=60.0)
    await on_some(plane, *envoys)
    file = plane.folder / "shop.yaml"
    file.unlink() if saved is None else file.write_text(saved)
    shown = await plane.ended(revision)
    assert shown["result"] == "abandoned"
    assert "meanwhile" in shown["detail"]
    assert (file.read_text() if file.exists() else None) == saved
    await plane.until(lambda: plane.state["live"] == 2)
    assert all(runs(one, b"/items") for one in envoys)
    assert plane.state["errors"]


async def test_a_broken_file_that_is_saved_at_the_last_moment_is_kept_too(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    envoys = [await plane.envoy("shop-1"), await plane.envoy("shop-2")]
    # Nobody looks while it is tried: what was promoted has to come back.
    monkeypatch.setattr("apibank.rollouts._LOOK_SECONDS", 60.0)
    revision = await begun(plane, moved(policy), soak=1.0)
    await on_some(plane, *envoys)
    (plane.folder / "shop.yaml").write_text("gateway: shop\n")
    shown = await plane.ended(revision)
    assert shown["result"] == "abandoned"
    assert (plane.folder / "shop.yaml").read_text() == "gateway: shop\n"
    await plane.until(lambda: plane.state["live"] == 2)
    assert all(runs(one, b"/items") for one in envoys)


async def test_a_canary_that_no_envoy_could_try_is_refused_at_once(plane: Running, policy: str) -> None:
    body = {"gateways": {"shop": {"text": moved(policy)}}, "canary": {"percent": 50}}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "no_envoys")
    assert "apply it without a canary" in answer.json()["detail"]
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert [one["source"] for one in await plane.history()] == ["file"]
