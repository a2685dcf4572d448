"""The developer portal as a person uses it: sign in, make a key, call with it, see the call, rotate, revoke, leave."""

import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page, expect
from standardwebhooks.webhooks import Webhook

from tests.browser.conftest import Open, Visitor
from tests.support.client import Client
from tests.support.stack import Stack

_SEEN_SECONDS = 20.0
_NODE = shutil.which("node")
LANGUAGES = ("curl", "python", "javascript") if _NODE else ("curl", "python")


def to(page: Page, name: str) -> None:
    """By the navigation."""
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def make_key(page: Page, name: str, *scopes: str) -> str:
    """By the form; the key."""
    to(page, "API keys")
    page.get_by_label("Name").fill(name)
    for scope in scopes:
        page.get_by_label(scope).check()
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("heading", name="Your new key")).to_be_visible()
    text = page.locator("#new-key").inner_text()
    assert re.fullmatch(r"waw_live_sk_[0-9A-Za-z]{20}", text)
    return text


def run_sample(page: Page, stack: Stack, language: str, key: str) -> str:
    """Run what the page shows, as it stands; what it printed."""
    text = page.locator(f"#{language}").inner_text()
    command = {
        "curl": ["sh", "-c", text],
        "python": [sys.executable, "-c", text],
        "javascript": [str(_NODE), "--input-type=module", "--eval", text],
    }[language]
    authority = dict.fromkeys(("CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"), stack.ca_file)
    environment = {**os.environ, **authority, "WAOOAW_API_KEY": key}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.requirement("R93", "R116")
def test_a_key_is_made_used_rotated_and_revoked(visitor: Visitor, client: Client) -> None:
    page, name = visitor.sign_in("user_12345"), f"nightly {secrets.token_hex(4)}"
    first = make_key(page, name, "marketing:read")
    assert client.call("GET", "/api/marketing/content", key=first).status_code == 200
    assert client.call("GET", "/api/sales/leads", key=first).status_code == 403
    # Reloading shows the keys, and makes no other one.
    page.reload()
    expect(page.get_by_role("link", name=name)).to_have_count(1)
    assert first not in page.content()
    page.get_by_role("link", name=name).click()
    page.get_by_label("The old key goes on for").select_option("1")
    page.get_by_role("button", name="Rotate the key").click()
    second = page.locator("#new-key").inner_text()
    assert second != first
    for key in (first, second):
        assert client.call("GET", "/api/marketing/content", key=key).status_code == 200
    page.get_by_role("link", name="To your keys").click()
    expect(page.locator("tr", has_text=name).get_by_text("being replaced")).to_be_visible()
    page.get_by_role("link", name=name).first.click()
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.locator(".badge", has_text="revoked")).to_be_visible()
    answers = {client.call("GET", "/api/marketing/content", key=key).status_code for key in (first, second)}
    assert answers == {200, 401}
    assert visitor.complaints == []


@pytest.mark.requirement("R118")
def test_the_samples_run_as_they_stand(visitor: Visitor, stack: Stack) -> None:
    page = visitor.sign_in("user_12345")
    key = make_key(page, "samples", "marketing:read", "marketing:write")
    page.get_by_role("link", name="See how to call the API").click()
    for language in LANGUAGES:
        assert '"path":"/api/marketing/content"' in run_sample(page, stack, language, key).replace(" ", "")
    # Another call is chosen, and is shown at once.
    page.get_by_label("Call").select_option("POST /api/marketing/seo")
    for language in LANGUAGES:
        expect(page.locator(f"#{language}")).to_contain_text("/api/marketing/seo")
        assert '"path":"/api/marketing/seo"' in run_sample(page, stack, language, key).replace(" ", "")


def until_told(page: Page, text: str) -> None:
    """Open the page anew until it says so, as somebody would who waits for it."""
    deadline = time.monotonic() + _SEEN_SECONDS
    while text not in " ".join((page.locator("main").text_content() or "").split()) and time.monotonic() < deadline:
        page.wait_for_timeout(250)
        page.reload()


@pytest.mark.requirement("R117", "R120")
def test_a_call_is_in_the_log_the_chart_and_the_limits_within_seconds(visitor: Visitor, client: Client) -> None:
    page = visitor.sign_in("user_enterprise")
    key = make_key(page, "watched", "marketing:read")
    good = client.call("GET", "/api/marketing/content", key=key)
    refused = client.call("POST", "/api/marketing/content", key=key, json={})
    assert (good.status_code, refused.status_code) == (200, 403)
    to(page, "Limits")
    expect(page.locator("section", has=page.get_by_role("heading", name="marketing"))).to_contain_text("of your keys")
    to(page, "Requests")
    until_told(page, good.headers["x-request-id"])
    row = page.locator("tr", has_text=good.headers["x-request-id"])
    expect(row).to_contain_text("GET /api/marketing/content")
    expect(row).to_contain_text("200")
    page.get_by_label("Status").select_option("4")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("main")).not_to_contain_text(good.headers["x-request-id"])
    to(page, "Usage")
    # Each tier's Envoy tells for itself, the one a second after the other.
    until_told(page, "marketing / content")
    expect(page.locator("main")).to_contain_text("marketing / content")
    expect(page.locator("svg.chart.wide rect.ok").first).to_be_visible()
    expect(page.get_by_role("heading", name="By single key")).to_be_visible()
    page.get_by_role("link", name="its requests").first.click()
    expect(page.locator("main")).to_contain_text(good.headers["x-request-id"])
    assert visitor.complaints == []


@pytest.fixture
def received() -> Iterator[tuple[str, "queue.Queue[tuple[dict[str, str], bytes]]"]]:
    """Somebody's server: its address, and what it gets."""
    got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/hooks", got
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.mark.requirement("R119")
def test_a_webhook_is_added_tried_and_told_of_a_key(
    visitor: Visitor, received: tuple[str, "queue.Queue[tuple[dict[str, str], bytes]]"]
) -> None:
    address, got = received
    page = visitor.sign_in("company_1")
    to(page, "Webhooks")
    page.get_by_label("Where to").fill("https://169.254.169.254/")
    page.get_by_label("key.created").check()
    page.get_by_role("button", name="Add the webhook").click()
    expect(page.get_by_text("That host is not on the public Internet")).to_be_visible()
    page.get_by_label("Where to").fill(address)
    page.get_by_role("button", name="Add the webhook").click()
    receiver = Webhook(page.locator("#new-secret").inner_text())
    page.get_by_role("link", name="Try it").click()
    page.get_by_role("button", name="Send a test event").click()
    headers, body = got.get(timeout=_SEEN_SECONDS)
    assert receiver.verify(body, headers)["type"] == "portal.test"
    key = make_key(page, "for sales", "sales:read")
    headers, body = got.get(timeout=_SEEN_SECONDS)
    assert receiver.verify(body, headers)["data"]["name"] == "for sales"
    assert key not in body.decode()
    to(page, "Webhooks")
    page.get_by_role("link", name=address).click()
    expect(page.locator(".badge", has_text="delivered")).to_have_count(2)
    page.get_by_role("button", name="Send portal.test again").click()
    again, _ = got.get(timeout=_SEEN_SECONDS)
    assert again["webhook-id"] != headers["webhook-id"]


def test_whoever_signs_out_leaves_nothing_for_the_next_person(visitor: Visitor) -> None:
    page = visitor.sign_in("user_12345")
    visitor.go("/portal/keys")
    (session,) = [one for one in visitor.context.cookies() if one["name"] == "__Host-apibank-portal"]
    assert (session["secure"], session["httpOnly"], session["sameSite"], session["path"]) == (True, True, "Lax", "/")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Build with the WAOOAW API")).to_be_visible()
    page.go_back()
    expect(page.locator("body")).not_to_contain_text("Keys belong to")
    visitor.go("/portal/keys")
    expect(page.get_by_role("heading", name="Sign in to waooaw-portal")).to_be_visible()
    assert not [one for one in visitor.context.cookies() if one["name"] == "__Host-apibank-portal"]


def test_everything_is_reached_by_keyboard(visitor: Visitor) -> None:
    page = visitor.sign_in("user_free")
    visitor.go("/portal/keys")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    # Past the keys that there may be.
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "name":
            break
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("marketing:read")).to_be_checked()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your new key")).to_be_visible()


def test_a_form_that_was_filled_in_wrongly_says_where(visitor: Visitor) -> None:
    page = visitor.sign_in("user_12345")
    visitor.go("/portal/keys")
    page.get_by_label("Name").fill("no scope")
    page.get_by_label("Where it works").fill("everywhere")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_label("Where it works")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Name")).to_have_value("no scope")


def test_another_site_neither_frames_the_portal_nor_sends_its_forms(open_visitor: Open, stack: Stack) -> None:
    visitor = open_visitor()
    page = visitor.sign_in("user_12345")
    portal = stack.ready.central.https
    # Another site: the issuer's, whose pages this test rewrites.
    page.route(
        "**/elsewhere",
        lambda route: route.fulfill(
            body=f"""
        <iframe src="{portal}/portal/keys"></iframe>
        <form method="post" action="{portal}/portal/sign-out"><button>Win</button></form>""",
            content_type="text/html",
        ),
    )
    page.goto("https://evil.example/elsewhere")
    frame = page.frames[1]
    assert "API keys" not in frame.content()
    page.get_by_role("button", name="Win").click()
    expect(page.get_by_role("heading", name="This form came from elsewhere")).to_be_visible()
    visitor.go("/portal")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
