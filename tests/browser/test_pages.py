"""Every page of the portal at the sizes and in the colours that people have: aligned, readable, without a complaint."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import SMALL, WIDE, Open

PAGES = [
    "/portal",
    "/portal/keys",
    "/portal/usage?period=week",
    "/portal/requests",
    "/portal/limits",
    "/portal/samples",
    "/portal/webhooks",
    "/portal/errors",
    "/portal/errors/rate_limited",
]
_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, SMALL], ids=["wide", "small"])
def test_pages_are_readable_and_meet_wcag(open_visitor: Open, size: tuple[int, int], dark: bool) -> None:
    visitor = open_visitor(size, dark=dark)
    page = visitor.sign_in("user_enterprise")
    axe = Axe()
    for path in PAGES:
        visitor.go(path)
        found = axe.run(page, options=_RULES).response["violations"]
        told = [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found]
        assert told == [], path
        # Nobody scrolls sideways to read.
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], path
    assert visitor.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_for_strangers_meets_wcag(open_visitor: Open, dark: bool) -> None:
    visitor = open_visitor(SMALL, dark=dark)
    page = visitor.go("/portal")
    assert Axe().run(page, options=_RULES).response["violations"] == []
    assert visitor.complaints == []
