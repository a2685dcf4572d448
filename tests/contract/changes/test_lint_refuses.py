"""A saved file that the linter calls wrong changes nothing, and the status says where it is wrong and by which rule."""

import structlog

from tests.contract.changes.federation import Running
from xds.snapshot import ROUTE


async def test_the_last_good_policy_goes_on_and_the_status_has_line_and_code(plane: Running, policy: str) -> None:
    envoy = await plane.envoy("shop-1")
    before = plane.state["version"]
    bad = policy.replace("path: /items, access: public", "path: /bad, access: public, limits: []")
    (plane.folder / "shop.yaml").write_text(bad)
    await plane.until(lambda: bool(plane.state["errors"]))
    (error,) = plane.state["errors"]
    line = bad[: bad.index("path: /bad")].count("\n") + 1
    assert (error["code"], error["line"]) == ("AB201", line)
    assert error["file"].endswith("shop.yaml")
    assert plane.state["version"] == before
    assert b"/items" in envoy.has[ROUTE, "mesh"]
    (plane.folder / "shop.yaml").write_text(policy)
    await plane.until(lambda: not plane.state["errors"])


async def test_warnings_are_logged_once_for_a_change(plane: Running, policy: str) -> None:
    before = plane.state["version"]
    with structlog.testing.capture_logs() as logs:
        (plane.folder / "shop.yaml").write_text(policy.replace("path: /items", "path: /things"))
        await plane.until(lambda: plane.state["version"] != before)
        # The same policy again is no change.
        text = policy.replace("path: /items", "path: /things") + "\n"
        (plane.folder / "shop.yaml").write_text(text)
        await plane.until(lambda: plane.plane.control.states["shop"].text == text)
        await plane.until(lambda: any(one["event"] == "policy_warnings" for one in logs))
    (warned,) = [one for one in logs if one["event"] == "policy_warnings"]
    assert any("AB405" in one for one in warned["findings"])
