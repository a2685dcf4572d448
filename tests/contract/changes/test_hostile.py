"""Whatever is sent to the control API or put into the folder: it is refused in good time, and the others go on."""

import os
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from records.database import Database
from records.policy_history import Change, Entry, PolicyHistory, Result
from tests.contract.changes.federation import SECRET, Running

STRANGERS = ("", "Bearer", "Bearer ", f"bearer {SECRET}", f"Bearer {SECRET}x", f"Bearer {SECRET[:-1]}", SECRET)
TRAVERSALS = (
    "../shop",
    "..%2Fshop",
    "%2e%2e%2fshop",
    "..",
    ".candidate",
    "shop%00",
    "shop.yaml",
    "SHOP",
)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024**3)


def device(path: Path) -> None:
    """A link to a node of the kind of /dev/null, in a folder of the test's own."""
    node = path.parent.parent / "node"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        os.mkfifo(node)
    path.symlink_to(node)


def moved(policy: str, path: str = "/things") -> str:
    return policy.replace("path: /items", f"path: {path}")


def doors(app: FastAPI) -> list[tuple[str, str]]:
    """Every method and path below /v1, also those that are new."""
    found = []
    waiting: list[Any] = list(app.routes)
    while waiting:
        one = waiting.pop()
        inner = getattr(one, "original_router", None) or getattr(one, "router", None)
        waiting += list(getattr(inner, "routes", ()))
        path = getattr(one, "path", "")
        if isinstance(one, APIRoute) or path.startswith("/v1"):
            found += [(method, re.sub(r"\{.*?\}", "1", path)) for method in getattr(one, "methods", None) or ()]
    return [(method, path) for method, path in found if path.startswith("/v1")]


async def test_every_door_below_v1_is_shut_to_whoever_has_no_token(plane: Running) -> None:
    app: Any = plane.app
    found = doors(app)
    # Those that there are today; a walk that finds fewer has not walked.
    assert len(found) >= 15, found
    assert ("DELETE", "/v1/policies/1") in found
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://control") as stranger:
        for method, path in found:
            for header in STRANGERS:
                answer = await stranger.request(method, path, json={}, headers={"authorization": header})
                assert answer.status_code == 401, (method, path, header)
        for path in ("/v1/", "/v1/none", "//v1/status", "/v1/../v1/status"):
            answer = await stranger.get(path)
            assert answer.status_code in {401, 404}, path
    assert plane.state["version"]


@pytest.mark.parametrize("name", TRAVERSALS)
async def test_a_name_that_leads_elsewhere_leads_nowhere(plane: Running, policy: str, name: str) -> None:
    def tree() -> list[str]:
        return sorted(str(path) for path in plane.folder.parent.rglob("*") if ".db" not in path.name)

    before = tree()
    for method, path in (
        ("GET", f"/v1/policies/{name}"),
        ("DELETE", f"/v1/policies/{name}"),
        ("PUT", f"/v1/gateways/{name}/upstreams/shop/endpoints"),
        ("PUT", f"/v1/gateways/shop/upstreams/{name}/endpoints"),
    ):
        answer = await plane.api.request(method, path, json={"endpoints": ["127.0.0.1:1"]})
        assert answer.status_code in {307, 404, 405, 422}, (method, path)
    for path, body in (
        ("apply", {"gateways": {name: {"text": policy}}}),
        ("diff", {"gateways": {name: {"text": policy}}}),
        ("apply", {"only": [name]}),
        ("diff", {"only": [name]}),
        ("apply", {"bases": {name: "0000"}}),
        ("rollback", {"gateway": name}),
        ("rollback", {"target": name}),
    ):
        answer = await plane.api.post(f"/v1/policies/{path}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), (path, body)
    assert tree() == before


BOMBS: dict[str, Callable[[], str]] = {
    "aliases": lambda: "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "nested lists": lambda: "routes: " + "[" * 100_000,
    "nested maps": lambda: "routes: " + "{a: " * 100_000,
    "long number": lambda: "gateway: " + "9" * 500_000,
    "many keys": lambda: "routes:\n" + "".join(f" r{n}: {{}}\n" for n in range(200)),
    "one long line": lambda: "gateway: " + "x" * 1_000_000,
    "a broken pair of surrogates": lambda: "gateway: shop\ndescription: \ud800\n",
    "nothing": lambda: "",
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("door", ["diff", "apply"])
async def test_what_would_burst_is_refused(plane: Running, door: str, bomb: str) -> None:
    import json

    # ASCII, so that half a pair of surrogates gets through JSON.
    body = json.dumps({"gateways": {"shop": {"text": BOMBS[bomb]()}}}).encode()
    answer = await plane.api.post(
        f"/v1/policies/{door}", content=body, headers={"content-type": "application/json"}, timeout=60
    )
    assert answer.status_code == 422, answer.text[:500]
    assert len(answer.content) < 5_000_000
    assert plane.state["errors"] == ()


ODD: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": device,
    "circle": lambda path: path.symlink_to(path),
    "gigabyte": sparse,
    "no text": lambda path: path.write_bytes(b"\xff\xfe"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("kind", ODD)
async def test_what_is_no_file_is_shown_as_wrong_and_holds_up_nobody(plane: Running, policy: str, kind: str) -> None:
    ODD[kind](plane.folder / "bank.yaml")
    states = plane.plane.control.states
    await plane.until(lambda: "bank" in states and states["bank"].errors)
    before = plane.state["version"]
    (plane.folder / "shop.yaml").write_text(moved(policy))
    await plane.until(lambda: plane.state["version"] != before)
    answer = await plane.api.post("/v1/policies/apply", json={"only": ["bank"]})
    assert answer.status_code == 422
    assert "bank.yaml" in answer.text
    # Whoever puts a policy in its place by the API is told, or has it there; nothing hangs.
    bank = policy.replace("gateway: shop", "gateway: bank")
    answer = await plane.api.post("/v1/policies/apply", json={"gateways": {"bank": {"text": bank}}})
    assert answer.status_code == 202
    assert answer.json()["rollouts"][0]["result"] == (
        "refused" if kind in {"pipe", "folder", "circle", "device"} else "live"
    )


async def test_a_rollback_to_what_is_no_policy_any_more_is_refused_with_its_reasons(
    plane: Running, database: str, policy: str
) -> None:
    gone = policy.replace("listeners:\n", "certificates: {edge: {chain_file: no.pem, key_file: no.key}}\nlisteners:\n")
    gone = gone.replace('"127.0.0.1:9000"}', '"127.0.0.1:9000", tls: {certificate: edge}}')
    async with Database(database) as records:
        history = PolicyHistory(records)
        for text, word in ((policy.replace("owners:", "ownres:"), "ownres"), (gone, "no.pem")):
            entry = Entry("shop", "feed", text, "ana", "", Change.FILE, datetime.now(UTC), Result.LIVE)
            revision = await history.add(entry)
            answer = await plane.api.post("/v1/policies/rollback", json={"target": str(revision)})
            assert (answer.status_code, answer.json()["code"]) == (422, "policy_invalid")
            assert word in answer.text
    assert (plane.folder / "shop.yaml").read_text() == policy
    assert plane.plane.rollouts.running("shop") is None
