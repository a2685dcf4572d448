"""Whatever fails while changes are made: nothing is half applied, nobody is locked out, and the others go on."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from apibank.preparation import UnpreparedError
from policy.model import Gateway
from records.policy_history import Entry, PolicyHistory
from tests.contract.changes.federation import Running, running
from xds.snapshot import ENDPOINT


def moved(policy: str, path: str = "/things") -> str:
    return policy.replace("path: /items", f"path: {path}")


def wanted(text: str) -> dict[str, Any]:
    return {"gateways": {"shop": {"text": text}}}


async def test_a_disk_that_is_full_leaves_the_file_as_it_was_and_nothing_beside_it(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr("apibank.candidates.os.fsync", full)
        answer = await plane.api.post("/v1/policies/apply", json=wanted(moved(policy)))
        (rollout,) = answer.json()["rollouts"]
        assert rollout["result"] == "refused"
        assert "No space left" in rollout["detail"]
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert [path.name for path in plane.folder.iterdir() if path.name.startswith(".shop")] == []
    (rollout,) = (await plane.api.post("/v1/policies/apply", json=wanted(moved(policy)))).json()["rollouts"]
    assert rollout["result"] == "live"


async def test_a_candidate_that_cannot_be_taken_away_locks_nobody_out(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def denied(path: Path, missing_ok: bool = False) -> None:
        if path.parent.name == ".candidate":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", denied)
    for path in ("/one", "/two"):
        answer = await plane.api.post("/v1/policies/apply", json=wanted(moved(policy, path)))
        assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]


async def test_a_candidate_that_cannot_be_taken_away_stops_no_start(
    folder: Path, database: str, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".candidate").mkdir()
    (folder / ".candidate" / "shop.yaml").write_text(policy)

    def denied(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", denied)
    async with running(folder, database) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])


async def test_a_file_that_is_a_link_stays_one(plane: Running, policy: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.yaml"
    elsewhere.write_text(policy)
    (plane.folder / "shop.yaml").unlink()
    (plane.folder / "shop.yaml").symlink_to(elsewhere)
    await plane.api.post("/v1/policies/apply", json=wanted(moved(policy)))
    assert (plane.folder / "shop.yaml").is_symlink()
    assert elsewhere.read_text() == moved(policy)


async def test_a_policy_that_breaks_the_compiler_holds_up_nobody_else(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = plane.plane.control.preparation.snapshot

    async def breaking(loaded: Any, *rest: Any) -> Any:
        if loaded.gateway.gateway == "bank":
            raise RecursionError("deeper than anybody thought")
        return await snapshot(loaded, *rest)

    monkeypatch.setattr("apibank.preparation.Preparation.snapshot", lambda _, *rest: breaking(*rest))
    (plane.folder / "bank.yaml").write_text(policy.replace("gateway: shop", "gateway: bank"))
    states = plane.plane.control.states
    await plane.until(lambda: "bank" in states and states["bank"].errors)
    assert "RecursionError" in str(states["bank"].errors[0]["message"])
    (plane.folder / "shop.yaml").write_text(moved(policy))
    before = plane.state["version"]
    await plane.until(lambda: plane.state["version"] != before)


async def test_a_last_good_snapshot_that_cannot_be_packed_ends_nothing(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Gateway) -> bytes:
        raise RuntimeError("cannot be packed")

    monkeypatch.setattr("apibank.last_good.pack", broken)
    await plane.envoy("shop-1")
    for path in ("/one", "/two"):
        (plane.folder / "shop.yaml").write_text(moved(policy, path))
        before = plane.state["version"]
        await plane.until(lambda before=before: plane.state["version"] != before and plane.state["live"] == 1)


async def test_revisions_beyond_all_numbers_are_not_found(plane: Running) -> None:
    huge = "9" * 40
    assert (await plane.api.get(f"/v1/policies/rollouts/{huge}")).status_code == 404
    answer = await plane.api.post("/v1/policies/rollback", json={"target": huge})
    assert (answer.status_code, answer.json()["code"]) == (404, "revision_not_found")


async def test_a_body_that_is_no_json_is_called_invalid(plane: Running) -> None:
    for body in (b"\xff\xfe", b"[" * 10_000, b"{"):
        answer = await plane.api.post("/v1/policies/apply", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in {400, 422}
        assert answer.json()["code"] == "request_invalid"


async def test_what_was_saved_a_moment_before_it_is_replaced_is_in_the_history(plane: Running, policy: str) -> None:
    await plane.history()
    # No await in between: nobody has noticed the file yet.
    (plane.folder / "shop.yaml").write_text(moved(policy, "/saved"))
    answer = await plane.api.post("/v1/policies/apply", json=wanted(moved(policy, "/applied")))
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert [one["source"] for one in await plane.history()] == ["apply", "file", "file"]


async def test_a_file_that_is_broken_is_mended_by_applying_what_is_live(plane: Running, policy: str) -> None:
    (plane.folder / "shop.yaml").write_text("gateway: shop\n")
    await plane.until(lambda: plane.state["errors"])
    answer = await plane.api.post("/v1/policies/apply", json=wanted(policy))
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert not plane.state["errors"]
    # It is in no history, and somebody has written it.
    (kept,) = (plane.folder / ".replaced").iterdir()
    assert kept.name.startswith("shop.")
    assert kept.read_text() == "gateway: shop\n"


async def test_what_was_live_is_in_the_history_and_not_kept_a_second_time(plane: Running, policy: str) -> None:
    changed = policy.replace("path: /items", "path: /things")
    answer = await plane.api.post("/v1/policies/apply", json=wanted(changed))
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert not (plane.folder / ".replaced").exists()


async def test_when_the_database_goes_between_two_gateways_both_fates_are_told(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, asked = PolicyHistory.begin, []

    async def once(history: PolicyHistory, entry: Entry, holder: str) -> int:
        asked.append(entry)
        if len(asked) > 1:
            raise OSError("connection refused")
        return await begin(history, entry, holder)

    monkeypatch.setattr(PolicyHistory, "begin", once)
    bank = policy.replace("gateway: shop", "gateway: bank")
    body = {"gateways": {"bank": {"text": bank}, "shop": {"text": moved(policy)}}}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live", "refused"]
    assert (plane.folder / "shop.yaml").read_text() == policy
    monkeypatch.undo()
    assert (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"][1]["result"] == "live"


async def test_endpoints_go_out_while_certificates_cannot_be_read(
    plane: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreadable(*_: Any) -> Any:
        raise UnpreparedError([{"message": "no such file"}])

    with monkeypatch.context() as broken:
        broken.setattr(plane.plane.control.preparation.__class__, "material", unreadable)
        envoy = await plane.envoy("shop-1")
        path = "/v1/gateways/shop/upstreams/shop/endpoints"
        assert (await plane.api.put(path, json={"endpoints": ["127.0.0.77:9002"]})).status_code == 200
        await plane.until(lambda: b"127.0.0.77" in envoy.has[ENDPOINT, "shop"])
