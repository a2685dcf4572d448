"""The samples run as they stand and send what the page says; tests/browser runs them against a gateway."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema_rs
import orjson
import pytest

from policy.model import Gateway
from portal.developer.examples import example
from portal.developer.person import Person
from portal.developer.samples import Call, calls, curl, javascript, python
from tests.support.issuer_client import BASE
from tests.unit.portal.developer.world import Browser

EVERYTHING = Person("ann", "Ann", "customer", "free", ("marketing:*", "education:*", "sales:*"))
ODD = Call("POST", "/api/x", "", {"it's": 'a "quote" \\ and $HOME `id`\n', "on": True, "none": None, "ä": [1.5, "ﬁ"]})

Seen = list[tuple[str, str, dict[str, str], bytes]]


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def origin(seen: Seen) -> Iterator[str]:
    """A server that notes what it gets."""

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            refused = self.path == "/refused"
            self.send_response(403 if refused else 200)
            self.send_header("x-request-id", "r-1")
            self.end_headers()
            self.wfile.write(b'{"code":"forbidden"}' if refused else b'{"ok":true}')

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


def run(language: str, origin: str, call: Call) -> "subprocess.CompletedProcess[str]":
    node = shutil.which("node")
    if language == "javascript" and node is None:
        pytest.skip("node is not installed")
    command = {
        "curl": ["sh", "-c", 'curl() { command curl --silent --fail-with-body "$@"; }\n' + curl(origin, call)],
        "python": [sys.executable, "-c", python(origin, call)],
        "javascript": [str(node), "--input-type=module", "--eval", javascript(origin, call)],
    }[language]
    environment = {**os.environ, "WAOOAW_API_KEY": "waw_live_sk_test"}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


@pytest.mark.requirement("R118")
@pytest.mark.parametrize("language", ["curl", "python", "javascript"])
@pytest.mark.parametrize("call", [Call("GET", "/api/x", ""), ODD], ids=["read", "write"])
def test_a_sample_sends_the_key_and_the_body(language: str, call: Call, origin: str, seen: Seen) -> None:
    done = run(language, origin, call)
    assert done.returncode == 0, done.stderr
    assert '{"ok":true}' in done.stdout
    ((method, path, headers, body),) = seen
    assert (method, path) == (call.method, call.path)
    assert headers["x-api-key"] == "waw_live_sk_test"
    if call.body is not None:
        assert headers["content-type"] == "application/json"
        assert orjson.loads(body) == call.body


@pytest.mark.parametrize("language", ["curl", "python", "javascript"])
def test_a_sample_says_why_it_was_refused_and_fails(language: str, origin: str) -> None:
    done = run(language, origin, Call("GET", "/refused", ""))
    assert done.returncode != 0
    assert '{"code":"forbidden"}' in done.stdout + done.stderr


def test_each_body_that_is_shown_is_one_that_the_gateway_takes(policies: Mapping[str, Gateway]) -> None:
    shown = 0
    for gateway in policies.values():
        for schema in gateway.schemas.values():
            found = example(schema)
            if found is not None:
                assert jsonschema_rs.is_valid(dict(schema), found)
                shown += 1
    assert shown >= 12
    assert len({call.name for call in calls(policies, EVERYTHING) if call.body is not None}) >= 10


def test_an_example_that_cannot_be_made_is_not_shown() -> None:
    assert example({"type": "string", "pattern": "^x{77}$"}) is None
    assert example({"$ref": "#"}) is None
    assert example({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#/$defs/none"}}}) is None


async def test_the_page_has_the_samples_for_the_host_by_which_the_browser_came(browser: Browser) -> None:
    await browser.sign_in()
    page = (await browser.http.get("/portal/samples", params={"call": "POST /api/marketing/seo"})).text
    shown = [unescape(one) for one in re.findall(r'<code id="[a-z]+">(.*?)</code>', page, re.DOTALL)]
    assert len(shown) == 3
    for text in shown:
        assert f"{BASE}/api/marketing/seo" in text
        assert "WAOOAW_API_KEY" in text
    named = await browser.http.get("/portal/samples", headers={"host": "localhost:10443"})
    assert "https://localhost:10443/api/marketing" in named.text
    strange = await browser.http.get("/portal/samples", headers={"host": "evil.example"})
    assert "evil.example" not in strange.text


async def test_a_call_that_there_is_none_of_shows_another(browser: Browser) -> None:
    await browser.sign_in()
    page = (await browser.http.get("/portal/samples", params={"call": "DELETE /<script>"})).text
    assert "DELETE" not in page
    assert "/api/marketing/" in page
