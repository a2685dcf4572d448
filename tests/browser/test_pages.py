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
def test_pages_that_answer_a_form_meet_wcag(open_visitor: Open, dark: bool) -> None:
    visitor = open_visitor(SMALL, dark=dark)
    page, axe = visitor.sign_in("user_free"), Axe()

    def check(what: str) -> None:
        found = axe.run(page, options=_RULES).response["violations"]
        assert [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found] == [], what
        assert page.evaluate("document.documentElement.scrollWidth") <= SMALL[0], what

    visitor.go("/portal/keys")
    page.get_by_label("Name").fill("checked")
    page.get_by_role("button", name="Make the key").click()
    check("a form that cannot be taken")
    page.get_by_label("marketing:read").check()
    page.get_by_role("button", name="Make the key").click()
    check("a new key")
    page.get_by_role("link", name="To your keys").click()
    page.get_by_role("link", name="checked").first.click()
    check("one key")
    visitor.go("/portal/webhooks")
    page.get_by_label("Where to").fill("http://127.0.0.1:9/")
    page.get_by_label("key.expiring").check()
    page.get_by_role("button", name="Add the webhook").click()
    check("a new webhook")
    page.get_by_role("link", name="Try it").click()
    page.get_by_role("button", name="Send a test event").click()
    check("one webhook")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_for_strangers_meets_wcag(open_visitor: Open, dark: bool) -> None:
    visitor = open_visitor(SMALL, dark=dark)
    page = visitor.go("/portal")
    assert Axe().run(page, options=_RULES).response["violations"] == []
    assert visitor.complaints == []
