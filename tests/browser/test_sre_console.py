"""The console as an administrator uses it: a mistake is seen at its line, fixed, applied, and taken back."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SMALL, WIDE, Visitor
from tests.support.stack import ROOT, Stack, running_stack

_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
_APPLIED_MS = 60_000
# Where people want to look at the pages.
_SHOTS = os.environ.get("APIBANK_TEST_SCREENSHOTS")
EDITOR = "/portal/sre/policies/marketing"
PAGES = ["/portal/sre", "/portal/sre/gateways/marketing", "/portal/sre/traffic", EDITOR, f"{EDITOR}/history"]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A federation whose policies are a copy: this changes them."""
    place = tmp_path_factory.mktemp("console")
    shutil.copytree(ROOT / "envoy", place / "envoy")
    policies = ("--policies", str(place / "envoy" / "gateways"))
    with running_stack(place / "state", *policies, "--gateways", "central,marketing", "--profile", "dev") as running:
        yield running


def administrator(chromium: Browser, stack: Stack, size: tuple[int, int] = WIDE, *, dark: bool = False) -> Visitor:
    context = chromium.new_context(
        ignore_https_errors=True,
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
    )
    context.set_default_timeout(20_000)
    visitor = Visitor(context, stack.ready.central.https)
    visitor.go("/portal/sign-in?next=/portal/sre")
    visitor.page.locator("button[value=admin_1]").click()
    visitor.page.wait_for_url(f"{visitor.base}/portal/sre")
    return visitor


def seen(page: Page, name: str) -> None:
    """Fit to be read: by whoever uses a screen reader, and without scrolling sideways."""
    if _SHOTS:
        page.screenshot(path=Path(_SHOTS) / f"{name}.png", full_page=True)
    found = Axe().run(page, options=_RULES).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found] == [], name
    size = page.viewport_size
    assert size is not None
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], name


def test_a_mistake_is_seen_at_its_line_fixed_applied_and_taken_back(chromium: Browser, own: Stack) -> None:
    visitor = administrator(chromium, own)
    page = visitor.page
    page.get_by_role("row", name=re.compile("^marketing ")).get_by_role("link", name="Edit").click()
    text = page.get_by_label("Text of the file")
    good = text.input_value()
    line = next(number for number, one in enumerate(good.split("\n"), 1) if one.startswith("owners:"))
    text.fill(good.replace("\nowners:", "\nownerz:", 1))
    page.get_by_role("button", name="Check and compare").click()
    expect(page.get_by_role("alert")).to_contain_text(f"Line {line}")
    expect(page.get_by_role("alert")).to_contain_text("ownerz")
    seen(page, "mistake")
    text.fill(good.replace("description: The seven marketing agents", "description: All marketing agents", 1))
    page.get_by_role("button", name="Check and compare").click()
    expect(page.get_by_text("It is good. This would change:")).to_be_visible()
    seen(page, "diff")
    page.get_by_label("Why").fill("tried in a browser")
    # By the keyboard.
    page.get_by_role("button", name="Apply").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/portal/sre/rollouts/"), timeout=_APPLIED_MS)
    expect(page.get_by_role("status")).to_contain_text("live", timeout=_APPLIED_MS)
    seen(page, "rollout")
    assert "All marketing agents" in visitor.go(EDITOR).get_by_label("Text of the file").input_value()
    visitor.go(f"{EDITOR}/history")
    expect(page.get_by_text("tried in a browser")).to_be_visible()
    seen(page, "history")
    page.get_by_role("link", name=re.compile("Compare with revision")).first.click()
    expect(page.get_by_role("heading", name="What going back to it would change now")).to_be_visible()
    seen(page, "revision")
    page.get_by_label("Why").fill("it was better")
    page.get_by_role("button", name=re.compile("Go back to revision")).click()
    page.wait_for_url(re.compile("/portal/sre/rollouts/"), timeout=_APPLIED_MS)
    assert visitor.go(EDITOR).get_by_label("Text of the file").input_value() == good
    # Chromium says so of the answer 422 that a mistake is given.
    assert [one for one in visitor.complaints if "422" not in one] == []
    visitor.context.close()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
def test_pages_are_readable_and_meet_wcag(chromium: Browser, own: Stack, size: tuple[int, int], dark: bool) -> None:
    visitor = administrator(chromium, own, size, dark=dark)
    for path in PAGES:
        shade = "dark" if dark else "light"
        seen(visitor.go(path), f"{path.replace('/', '-')[1:]}-{size[0]}-{shade}")
    assert visitor.complaints == []
    visitor.context.close()
