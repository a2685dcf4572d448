"""A real Chromium at a real federation: what people see, and what their keyboards do."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.support.client import Client
from tests.support.stack import Stack, running_stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDE = (1280, 900)
SMALL = (390, 844)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The hook is given every test of the run, those of other folders too.
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The federation as `apibank up` starts it."""
    with running_stack(tmp_path_factory.mktemp("browser") / "state", "--profile", "dev") as running:
        yield running


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Visitor:
    """Somebody with a browser of their own at the portal."""

    def __init__(self, context: BrowserContext, base: str) -> None:
        self.context = context
        self.base = base
        self.page: Page = context.new_page()
        # What the browser complains of: scripts that fail, styles that the page's own policy keeps out.
        self.complaints: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def go(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def sign_in(self, account: str) -> Page:
        """By the issuer's own page."""
        self.go("/portal")
        self.page.get_by_role("link", name="Sign in").first.click()
        self.page.locator(f"button[value={account}]").click()
        self.page.wait_for_url(f"{self.base}/portal")
        return self.page


Open = Callable[..., Visitor]


@pytest.fixture
def open_visitor(chromium: Browser, stack: Stack) -> Iterator[Open]:
    """Browsers without cookies, of a size and with a colour scheme."""
    contexts: list[BrowserContext] = []

    def open_one(size: tuple[int, int] = WIDE, *, dark: bool = False) -> Visitor:
        context = chromium.new_context(
            # The development authority is in no browser's list; tests/e2e check the certificate.
            ignore_https_errors=True,
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        return Visitor(context, stack.ready.central.https)

    yield open_one
    for context in contexts:
        context.close()


@pytest.fixture
def visitor(open_visitor: Open) -> Visitor:
    """One browser, as wide as a laptop's."""
    return open_visitor()


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A program that calls the public door."""
    with Client(stack.ready) as one:
        yield one
