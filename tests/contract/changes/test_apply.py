"""Changes that are applied are checked, recorded, made live, and undone."""

import asyncio
from pathlib import Path

import pytest

from apibank.drafts import Complaint
from policy.load import Loaded
from policy.model import Gateway
from portal.policies_api import text_digest
from tests.contract.changes.federation import Authorization, Running, running
from xds.snapshot import ROUTE


def moved(policy: str, path: str = "/things") -> str:
    return policy.replace("path: /items", f"path: {path}")


async def test_a_policy_that_is_applied_is_live_in_the_folder_and_in_the_history(plane: Running, policy: str) -> None:
    envoy = await plane.envoy("shop-1")
    body = {"gateways": {"shop": {"text": moved(policy)}}, "message": "better names"}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert answer.status_code == 202
    (rollout,) = answer.json()["rollouts"]
    assert rollout["result"] == "live"
    await plane.until(lambda: plane.state["live"] == 1)
    assert b"/things" in envoy.has[ROUTE, "mesh"]
    assert (plane.folder / "shop.yaml").read_text() == moved(policy)
    shown = await plane.ended(rollout["revision"])
    assert (shown["result"], shown["author"], shown["message"], shown["current"]) == (
        "live",
        "ana",
        "better names",
        True,
    )
    assert (shown["live"], shown["envoys"]) == (1, 1)
    newest, first = await plane.history()
    assert [newest["source"], first["source"]] == ["apply", "file"]
    assert plane.state["revision"] == newest["revision"]


async def test_a_saved_file_is_live_at_once_and_recorded_once(plane: Running, policy: str) -> None:
    (plane.folder / "shop.yaml").write_text(moved(policy))
    before = plane.state["version"]
    await plane.until(lambda: plane.state["version"] != before)
    assert [one["source"] for one in await plane.history()] == ["file", "file"]


async def test_everything_that_is_wrong_is_said_with_its_place_and_nothing_changes(plane: Running, policy: str) -> None:
    text = policy.replace("upstream: shop", "upstraem: shop").replace("GET: read", "GRAB: read")
    body = {"gateways": {"shop": {"text": text, "file": "mine/shop.yaml"}}}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
    places = {(one["file"], one["line"]) for one in answer.json()["errors"]}
    assert {file for file, _ in places} == {"mine/shop.yaml"}
    assert len(places) >= 2
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert len(await plane.history()) == 1


async def test_another_gateway_s_text_is_refused(plane: Running, policy: str) -> None:
    body = {"gateways": {"shop": {"text": policy.replace("gateway: shop", "gateway: bank")}}}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert answer.json()["errors"][0]["path"] == "gateway"


async def test_a_change_made_from_a_version_that_is_no_longer_live_is_refused(plane: Running, policy: str) -> None:
    body = {"gateways": {"shop": {"text": moved(policy)}}, "bases": {"shop": "0000"}}
    answer = await plane.api.post("/v1/policies/apply", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "base_outdated")
    body["bases"] = {"shop": plane.state["version"][:6]}
    assert (await plane.api.post("/v1/policies/apply", json=body)).status_code == 202


async def test_a_change_over_another_persons_comment_is_refused_where_the_text_was_named(
    plane: Running, policy: str
) -> None:
    """A version says what a policy does, so that a comment has none."""
    shown = (await plane.api.get("/v1/policies/shop")).json()
    answer = await plane.api.post(
        "/v1/policies/apply", json={"gateways": {"shop": {"text": policy + "# ask ana before you change this\n"}}}
    )
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert plane.state["version"] == shown["version"]
    for path, body in (
        ("apply", {"gateways": {"shop": {"text": moved(policy)}}}),
        ("rollback", {"target": str(shown["revision"]), "gateway": "shop"}),
    ):
        answer = await plane.api.post(f"/v1/policies/{path}", json={**body, "bases": {"shop": shown["digest"]}})
        assert (answer.status_code, answer.json()["code"]) == (409, "base_outdated")
    assert "# ask ana" in (plane.folder / "shop.yaml").read_text()
    now = (await plane.api.get("/v1/policies/shop")).json()
    assert now["digest"] == text_digest(now["text"]) != shown["digest"]
    body = {"gateways": {"shop": {"text": moved(now["text"])}}, "bases": {"shop": now["digest"]}}
    assert (await plane.api.post("/v1/policies/apply", json=body)).status_code == 202


async def test_who_does_not_wait_is_told_at_once_which_change_it_is(plane: Running, policy: str) -> None:
    body = {"gateways": {"shop": {"text": moved(policy)}}, "wait": False}
    (begun,) = (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"]
    assert begun["result"] == "running"
    assert (await plane.ended(begun["revision"]))["result"] == "live"
    assert b"/things" in (plane.folder / "shop.yaml").read_bytes()


async def test_nobody_goes_back_to_what_was_never_live(plane: Running, policy: str) -> None:
    first = (await plane.history())[0]["revision"]
    envoy = await plane.envoy("shop-1")
    envoy.refuse(ROUTE, b"/things")
    body = {"gateways": {"shop": {"text": moved(policy)}}, "canary": {"percent": 100, "soak": 0, "within": 5}}
    begun = (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"][0]
    assert (await plane.ended(begun["revision"]))["result"] == "halted"
    for target, code in (
        (str(begun["revision"]), "revision_never_live"),
        (begun["version"][:12], "revision_not_found"),
    ):
        answer = await plane.api.post("/v1/policies/rollback", json={"target": target, "gateway": "shop"})
        assert answer.json()["code"] == code
    listed = (await plane.api.get(f"/v1/policies/history?before={begun['revision']}")).json()
    assert [one["revision"] for one in listed] == [first]


async def test_of_two_changes_at_once_one_is_refused_and_told_who_is_at_work(plane: Running, policy: str) -> None:
    bodies = [{"gateways": {"shop": {"text": moved(policy, path)}}} for path in ("/one", "/two")]
    answers = await asyncio.gather(*(plane.api.post("/v1/policies/apply", json=body) for body in bodies))
    assert sorted(one.status_code for one in answers) == [202, 409]
    (refused,) = (one.json() for one in answers if one.status_code == 409)
    assert refused["code"] == "rollout_running"
    assert "ana" in refused["detail"]


async def test_applying_what_is_live_changes_nothing(plane: Running, policy: str) -> None:
    for body in ({}, {"only": ["shop"]}, {"gateways": {"shop": {"text": policy}}}):
        answer = await plane.api.post("/v1/policies/apply", json=body)
        assert [one["result"] for one in answer.json()["rollouts"]] == ["unchanged"]
    assert len(await plane.history()) == 1


async def test_a_folder_that_cannot_be_written_is_a_clear_refusal(
    plane: Running, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The tests may run as root, to whom every folder is writable.
    monkeypatch.setattr("apibank.candidates.os.access", lambda *_: False)
    answer = await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy)}}})
    assert (answer.status_code, answer.json()["code"]) == (409, "folder_read_only")
    assert str(plane.folder) in answer.json()["detail"]


async def test_the_last_change_is_undone_and_any_revision_comes_back(plane: Running, policy: str) -> None:
    first = plane.state["version"]
    await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy)}}})
    second = plane.state["version"]
    await plane.history()
    answer = await plane.api.post("/v1/policies/rollback", json={})
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert plane.state["version"] == first
    assert (plane.folder / "shop.yaml").read_text() == policy
    await plane.history()
    await plane.api.post("/v1/policies/rollback", json={"target": second[:8], "gateway": "shop"})
    assert plane.state["version"] == second
    revisions = [one["revision"] for one in await plane.history()]
    await plane.api.post("/v1/policies/rollback", json={"target": str(revisions[-1]), "message": "as it was"})
    assert plane.state["version"] == first
    newest = (await plane.history())[0]
    assert (newest["source"], newest["message"]) == ("rollback", "as it was")


async def test_a_rollback_over_another_persons_change_is_refused(plane: Running, policy: str) -> None:
    first = plane.state["version"]
    await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy)}}})
    second = plane.state["version"]
    await plane.history()
    body = {"target": first[:8], "gateway": "shop", "bases": {"shop": first[:8]}}
    answer = await plane.api.post("/v1/policies/rollback", json=body)
    assert (answer.status_code, answer.json()["code"]) == (409, "base_outdated")
    assert plane.state["version"] == second
    answer = await plane.api.post("/v1/policies/rollback", json=body | {"bases": {"shop": second}})
    assert answer.status_code == 202
    assert plane.state["version"] == first


async def test_a_revision_is_told_with_its_text(plane: Running, policy: str) -> None:
    await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy)}}, "message": "why"})
    newest, first = await plane.history()
    told = (await plane.api.get(f"/v1/policies/revisions/{newest['revision']}")).json()
    assert (told["text"], told["message"], told["revision"]) == (moved(policy), "why", newest["revision"])
    assert (await plane.api.get(f"/v1/policies/revisions/{first['revision']}")).json()["text"] == policy
    assert (await plane.api.get("/v1/policies/revisions/999")).json()["code"] == "revision_not_found"


async def test_a_rollback_to_nothing_that_is_known_is_refused(plane: Running) -> None:
    await plane.history()
    for body in ({"target": "999"}, {"target": "feed"}, {}, {"gateway": "bank"}):
        answer = await plane.api.post("/v1/policies/rollback", json=body)
        assert answer.status_code == 404, body


async def test_a_difference_is_shown_and_nothing_is_changed(plane: Running, policy: str) -> None:
    body = {"gateways": {"shop": {"text": moved(policy), "file": "mine.yaml"}}, "resources": True}
    (one,) = (await plane.api.post("/v1/policies/diff", json=body)).json()["gateways"]
    assert one["live"] == plane.state["version"] != one["version"]
    (change,) = one["changes"]
    assert change["path"].startswith("routes.items")
    assert change["file"] == "mine.yaml"
    assert (await plane.api.post("/v1/policies/diff", json={})).json()["gateways"][0]["changes"] == []


async def test_what_envoys_refuse_is_rolled_back_and_its_changed_routes_are_named(plane: Running, policy: str) -> None:
    envoy = await plane.envoy("shop-1")
    envoy.refuse(ROUTE, b"/things")
    body = {"gateways": {"shop": {"text": moved(policy)}}}
    (rollout,) = (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"]
    await plane.until(lambda: plane.state["rolled_back"])
    (withheld,) = plane.state["rolled_back"]
    assert withheld["message"] == "the bytes are not to my taste"
    line = policy.splitlines().index("  items: {path: /items, access: public, upstream: shop}") + 1
    assert [(one["path"], one["line"]) for one in withheld["suspects"]] == [("routes.items", line)]
    newest = (await plane.history())[0]
    assert (newest["revision"], newest["result"]) == (rollout["revision"], "rolled back")
    assert "not to my taste" in newest["detail"]
    # A fix is published as soon as it is saved.
    (plane.folder / "shop.yaml").write_text(moved(policy, "/fixed"))
    await plane.until(lambda: not plane.state["rolled_back"] and b"/fixed" in envoy.has[ROUTE, "mesh"])


async def test_a_removed_file_is_reported_and_the_gateway_goes_on(plane: Running) -> None:
    envoy = await plane.envoy("shop-1")
    (plane.folder / "shop.yaml").unlink()
    await plane.until(lambda: plane.state["errors"])
    assert "gone" in plane.state["errors"][0]["message"]
    assert plane.state["live"] == 1
    assert envoy.has


async def test_authorization_that_is_down_does_not_hold_up_a_change_for_good(
    plane: Running, policy: str, authz: tuple[Authorization, int]
) -> None:
    authz[0].knows = False
    body = {"gateways": {"shop": {"text": moved(policy)}}}
    (rollout,) = (await plane.api.post("/v1/policies/apply", json=body)).json()["rollouts"]
    assert rollout["result"] == "live"


async def test_a_gateway_that_is_new_is_live_once_it_is_applied(plane: Running, policy: str) -> None:
    text = policy.replace("gateway: shop", "gateway: bank")
    answer = await plane.api.post("/v1/policies/apply", json={"gateways": {"bank": {"text": text}}})
    assert [one["result"] for one in answer.json()["rollouts"]] == ["live"]
    assert plane.publisher.intended("bank") is not None
    assert (plane.folder / "bank.yaml").read_text() == text
    canary = {"gateways": {"pub": {"text": policy.replace("gateway: shop", "gateway: pub")}}, "canary": {"percent": 50}}
    assert (await plane.api.post("/v1/policies/apply", json=canary)).json()["code"] == "nothing_live"


async def test_requests_are_bounded(plane: Running, policy: str) -> None:
    many = {f"g{number}": {"text": policy} for number in range(17)}
    for body in ({"gateways": many}, {"gateways": {"shop": {"text": "x" * (1024 * 1024 + 1)}}}, {"gateways": {}}):
        assert (await plane.api.post("/v1/policies/apply", json=body)).status_code == 422
    huge = await plane.api.post("/v1/policies/apply", content=b"x", headers={"content-length": str(10**9)})
    assert huge.status_code == 413
    named = await plane.api.post("/v1/policies/apply", json={}, headers={"x-apibank-author": "a" * 200})
    assert named.json()["code"] == "author_invalid"


async def test_what_the_linter_refuses_is_not_applied_and_what_it_warns_of_is_said(
    folder: Path, database: str, policy: str
) -> None:
    def linter(loaded: Loaded[Gateway]) -> list[Complaint]:
        record = {"file": "shop.yaml", "line": 1, "path": "routes", "message": "hm", "code": "AB101"}
        return [Complaint("/bad" in str(loaded.gateway.routes["items"].path), record)]

    async with running(folder, database, linter) as plane:
        await plane.until(lambda: "shop" in plane.plane.control.states and plane.state["version"])
        refused = await plane.api.post(
            "/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy, "/bad")}}}
        )
        assert refused.status_code == 422
        assert [one["code"] for one in refused.json()["errors"]] == ["AB101"]
        warned = await plane.api.post("/v1/policies/apply", json={"gateways": {"shop": {"text": moved(policy)}}})
        assert warned.status_code == 202
        assert [one["message"] for one in warned.json()["warnings"]] == ["hm"]
