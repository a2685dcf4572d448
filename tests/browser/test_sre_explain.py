"""The console explains a request, and shows where a traced one spent its time, to people of every eyesight."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import SMALL, WIDE
from tests.browser.test_sre_console import administrator, seen
from tests.support.client import CONTENT, Client
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Fresh, Tokens

# Envoy tells of spans every five seconds.
SOON = 45.0
PATH = "/api/marketing/content"


@pytest.fixture
def fresh() -> Fresh:
    return lambda kind: f"{kind}-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place: Path = tmp_path_factory.mktemp("explain")
    with running_stack(place / "state", "--gateways", "central,marketing", "--profile", "dev") as running:
        yield running


def test_a_request_is_explained_with_the_token_that_nobody_sees_again(chromium: Browser, own: Stack) -> None:
    token = Tokens(own.state_dir).of("marketing", lambda kind: f"{kind}-explained", tier="business")
    for size, dark in ((WIDE, False), (SMALL, True)):
        visitor = administrator(chromium, own, size, dark=dark)
        page = visitor.page
        page.get_by_role("link", name="Explain a request").click()
        seen(page, f"explain-form-{size[0]}")
        page.get_by_label("Method").select_option("POST")
        page.get_by_label("Path").fill(PATH)
        page.get_by_label("Token or API key").fill(token)
        page.get_by_label("Body").fill('{"topic": 1}')
        # By the keyboard alone, as a form is sent.
        page.get_by_label("Path").press("Enter")
        expect(page.get_by_role("heading", name="refused by marketing: 400")).to_be_visible()
        expect(page.get_by_role("heading", name="2. marketing")).to_be_visible()
        assert token not in page.content()
        seen(page, f"explain-told-{size[0]}")
        page.get_by_label("Path").fill("/api/marketing/nowhere")
        page.get_by_role("button", name="Explain").click()
        expect(page.get_by_role("heading", name="refused by")).to_be_visible()
        assert visitor.complaints == []
        visitor.context.close()


def test_a_traced_request_is_found_and_shows_every_call_that_was_made_for_it(
    chromium: Browser, own: Stack, fresh: Fresh
) -> None:
    with Client(own.ready) as client:
        token = Tokens(own.state_dir).of("marketing", fresh, tier="business")
        answer = client.call("POST", PATH, token=token, json=CONTENT)
        assert answer.status_code == 200
        request_id = answer.headers["x-request-id"]
        assert client.call("POST", PATH, json=CONTENT).status_code == 401
    visitor = administrator(chromium, own)
    page = visitor.page
    page.get_by_role("link", name="Traces").click()
    deadline = time.monotonic() + SOON
    while True:
        page.get_by_label("Request id").fill(request_id)
        page.get_by_role("button", name="Show", exact=True).click()
        page.wait_for_load_state()
        if page.get_by_role("link", name="POST marketing").count() or time.monotonic() > deadline:
            break
        time.sleep(1)
    seen(page, "traces-found")
    page.get_by_role("link", name="POST marketing").click()
    # The gateway behind tells of itself in its own time.
    while page.get_by_text("POST content").count() == 0 and time.monotonic() < deadline:
        time.sleep(1)
        page.reload()
    for words in ("authorization", "limits", "call to marketing-gateway", "POST content", "call to marketing-agents"):
        expect(page.get_by_text(words, exact=True).first).to_be_visible()
    page.get_by_text("What was told").first.click()
    expect(page.get_by_text("via_upstream").first).to_be_visible()
    seen(page, "trace-wide")
    address = page.url.removeprefix(visitor.base)
    assert visitor.complaints == []
    for dark in (False, True):
        small = administrator(chromium, own, SMALL, dark=dark)
        for path, name in (("/portal/sre/traces", "traces"), (address, "trace")):
            seen(small.go(path), f"{name}-small-{'dark' if dark else 'light'}")
        assert small.complaints == []
        small.context.close()
    visitor.context.close()
