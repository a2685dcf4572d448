"""The API reference in a browser: from here alone, read by everybody, and calling the gateway as a program would."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect

from tests.browser.conftest import SMALL, WIDE, Visitor
from tests.support.client import Client
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Tokens

_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
READERS = [(WIDE, False), (WIDE, True), (SMALL, False), (SMALL, True)]
PAGES = [
    f"{one}/{kind}" for one in ("/api", "/api/marketing", "/api/education", "/api/sales") for kind in ("docs", "redoc")
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place: Path = tmp_path_factory.mktemp("reference")
    with running_stack(place / "state", "--gateways", "central,marketing", "--profile", "dev") as running:
        yield running


def reader(chromium: Browser, stack: Stack, size: tuple[int, int] = WIDE, *, dark: bool = False) -> Visitor:
    context = chromium.new_context(
        ignore_https_errors=True,
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if dark else "light",
    )
    context.set_default_timeout(20_000)
    return Visitor(context, stack.ready.central.https)


def asked_by(page: Page) -> list[Request]:
    """What a page asks for from now on."""
    asked: list[Request] = []

    def note(request: Request) -> None:
        # No method of the list: playwright writes a name on what it is given.
        asked.append(request)

    page.on("request", note)
    return asked


def shown(page: Page, path: str) -> None:
    """Wait until the document is there: its title is the first heading of both kinds of page."""
    page.goto(path, timeout=60_000)
    # ReDoc reads the whole document first, which takes a machine with other work a while.
    expect(page.get_by_role("heading", level=1).first).to_be_visible(timeout=60_000)
    page.wait_for_load_state("networkidle", timeout=60_000)


@pytest.mark.requirement("R114", "R115")
@pytest.mark.parametrize("path", PAGES)
def test_a_page_of_the_reference_is_read_by_everybody_and_asks_nobody_else(
    chromium: Browser, own: Stack, path: str
) -> None:
    faults: list[str] = []
    # One of them in every way; the others differ in their documents alone.
    for size, dark in READERS if path == "/api/marketing/docs" else READERS[::3]:
        visitor = reader(chromium, own, size, dark=dark)
        page = visitor.page
        asked = asked_by(page)
        shown(page, visitor.base + path)
        how = f"{path} {size[0]} {'dark' if dark else 'light'}"
        if folder := os.environ.get("APIBANK_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{how.strip('/').replace('/', '-').replace(' ', '-')}.png")
        here = urlsplit(visitor.base).netloc
        faults += [f"{how}: asks {one.url}" for one in asked if urlsplit(one.url).netloc not in {here, ""}]
        faults += [f"{how}: {one}" for one in visitor.complaints]
        width = page.evaluate("document.documentElement.scrollWidth")
        faults += [f"{how}: {width} wide"] if width > size[0] else []
        # Of ReDoc's pages axe-core takes minutes: it writes the whole document out.
        found = Axe().run(page, options=_RULES).response["violations"] if path.endswith("/docs") else []
        faults += [
            f"{how}: {one['id']} {[node['target'] for node in one['nodes']][:3]}"
            for one in found
            if one["impact"] in {"serious", "critical"}
        ]
        visitor.context.close()
    assert not faults, "\n".join(faults)


@pytest.mark.requirement("R114", "R115")
def test_a_call_from_the_reference_goes_through_the_gateway(chromium: Browser, own: Stack) -> None:
    token = Tokens(own.state_dir).of("marketing", lambda kind: f"{kind}-{uuid.uuid4().hex[:8]}", tier="business")
    visitor = reader(chromium, own)
    page = visitor.page
    shown(page, f"{visitor.base}/api/marketing/docs")
    row = page.locator(".opblock-post", has_text="/api/marketing/content").first
    row.locator(".opblock-summary-control").click()
    row.get_by_role("button", name="Try it out").click()
    row.get_by_role("button", name="Execute").click()
    live = row.locator(".live-responses-table .response-col_status").last
    expect(live).to_contain_text("401")
    expect(row.locator(".live-responses-table")).to_contain_text("token_missing")
    page.get_by_role("button", name="Authorize").first.click()
    page.locator(".auth-container input").first.fill(token)
    page.locator(".auth-container").get_by_role("button", name="Apply credentials").first.click()
    page.get_by_role("button", name="Close").first.click()
    row.get_by_role("button", name="Execute").click()
    expect(live).not_to_contain_text("401")
    # The browser's own note of the 401 that was asked for; no rule of the page was broken.
    assert [one for one in visitor.complaints if "401" not in one and "400" not in one] == []
    visitor.context.close()


@pytest.mark.parametrize("path", [*PAGES, "/api/openapi.json", "/api/marketing/openapi.json"])
def test_the_head_of_a_reference_page_is_there_through_the_gateway(own: Stack, path: str) -> None:
    with Client(own.ready) as client:
        assert client.call("HEAD", path).status_code == 200
