"""What the documents tell agents to copy does what they say: taken from the page, run, and shown to a real gateway."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx2
import pytest

from tests.e2e.conftest import INTERNAL_ADDRESS
from tests.support.client import Client, problem
from tests.support.stack import ROOT, Stack

PAGE = ROOT / "docs" / "operate" / "credentials.md"
PATH = "/api/agents/memory"
BODY = json.dumps(
    {"id": "m-3", "type": "task.created", "sender": "vision", "recipient": "memory", "payload": {"text": "größer"}},
    ensure_ascii=False,
).encode()
TARGETS = [PATH, f"{PATH}?since=1&kind=a%20b", f"{PATH}/requests/42?"]
# Prints the headers that the function of the page makes, as JSON.
DRIVER = """\
import { readFileSync } from "node:fs";
import { sign } from "./sign.mjs";
const [url, body, agent, secret] = process.argv.slice(2);
const headers = sign("POST", url, readFileSync(body), agent, readFileSync(secret, "utf8").split("\\n")[0].trim());
process.stdout.write(JSON.stringify(headers));
"""


def snippets() -> dict[str, str]:
    """The fenced blocks that the page marks as tested, by the name of their file."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- tested: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in snippets().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "message.json").write_bytes(BODY)
    return tmp_path


@pytest.fixture
def secret_file(stack: Stack) -> Path:
    return stack.state_dir / "secrets" / "agents" / "vision"


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={"PATH": "/usr/bin:/bin:/usr/local/bin", **environment},
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def taking_one() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server on loopback that keeps the headers and bodies of what it is sent; its authority, and what it keeps."""
    taken: list[tuple[dict[str, str], bytes]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"taken")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


def send(client: Client, target: str, headers: dict[str, str]) -> httpx2.Response:
    sent = {"content-type": "application/json", **headers}
    return client.call("POST", target, content=BODY, headers=sent, door="internal_https")


def accepted_once(client: Client, target: str, headers: dict[str, str]) -> None:
    answer = send(client, target, headers)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "processing"
    assert problem(send(client, target, headers))["code"] == "signature_replayed"


def test_every_snippet_of_the_page_is_one_that_is_tested() -> None:
    text = PAGE.read_text(encoding="utf-8")
    code = re.findall(r"```(?:sh|bash|js|javascript|python)\n", text)
    assert set(snippets()) == {"sign.sh", "call.sh", "sign.mjs", "call.mjs", "sign-in.sh", "refresh.sh"}
    assert len(code) == len(snippets())


@pytest.mark.requirement("R60", "R118")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_shell_signs(target: str, folder: Path, secret_file: Path, stack: Stack, internal: Client) -> None:
    url = stack.ready.central.internal_https + target
    printed = run(folder, "sh", "sign.sh", "POST", url, "message.json", AGENT="vision", SECRET_FILE=str(secret_file))
    accepted_once(internal, target, dict(line.split(": ", 1) for line in printed.splitlines()))


@pytest.mark.requirement("R60", "R118")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_curl_sends_what_the_shell_signed(folder: Path, secret_file: Path, stack: Stack) -> None:
    # Only from the internal network.
    (folder / ".curlrc").write_text(f"interface = {INTERNAL_ADDRESS}\n", encoding="utf-8")
    answer = json.loads(
        run(
            folder, "sh", "call.sh", stack.ready.central.internal_https + PATH, "message.json", AGENT="vision",
            SECRET_FILE=str(secret_file), CA_FILE=stack.ca_file, HOME=str(folder),
        )
    )  # fmt: skip
    assert answer["status"] == "processing"


@pytest.mark.requirement("R60", "R118")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript_signs(target: str, folder: Path, secret_file: Path, stack: Stack, internal: Client) -> None:
    (folder / "driver.mjs").write_text(DRIVER, encoding="utf-8")
    node = shutil.which("node") or "node"
    url = stack.ready.central.internal_https + target
    printed = run(folder, node, "driver.mjs", url, "message.json", "vision", str(secret_file))
    accepted_once(internal, target, json.loads(printed))


@pytest.mark.requirement("R60", "R118")
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_node_sends_what_javascript_signed(folder: Path, secret_file: Path, internal: Client) -> None:
    # Node's fetch cannot choose the address that it calls from, and only the internal network may call the gateway: it
    # sends to a server of this test, and the gateway is then shown the same request.
    node = shutil.which("node") or "node"
    environment = {"AGENT": "vision", "SECRET_FILE": str(secret_file)}
    with taking_one() as (authority, taken):
        printed = run(folder, node, "call.mjs", f"http://{authority}{PATH}", "message.json", **environment)
    assert printed == "200 taken\n"
    (headers, body), signed = taken[0], ("content-digest", "signature-input", "signature", "content-type", "host")
    answer = internal.call(
        "POST", PATH, content=body, headers={name: headers[name] for name in signed}, door="internal_https"
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "processing"


@pytest.mark.requirement("R92")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_shell_signs_in_and_refreshes(folder: Path, stack: Stack, client: Client) -> None:
    signed_in = json.loads(run(folder, "sh", "sign-in.sh", stack.ready.issuers["customer"]))
    refreshed = [
        json.loads(run(folder, "sh", "refresh.sh", stack.ready.central.https, CA_FILE=stack.ca_file)) for _ in range(2)
    ]
    tokens = [one["access_token"] for one in (signed_in, *refreshed)]
    assert len(set(tokens)) == 3
    for token in tokens:
        assert client.call("GET", "/api/marketing/content", token=token).status_code == 200


@pytest.mark.requirement("R60", "R118")
def test_the_readme_of_the_python_client_signs(folder: Path, secret_file: Path, stack: Stack, internal: Client) -> None:
    readme = (ROOT / "clients" / "python" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    url = stack.ready.central.internal_https + PATH
    # The page's own lines, with this stack's address and this test's way of sending.
    code = code.replace("import httpx2\n", "").replace("https://internal.waooaw.ai/api/agents/vision", url)
    code = code.replace('agent_id="content"', 'agent_id="vision"').replace('"sender": "content"', '"sender": "vision"')
    code = re.sub(r"^httpx2\.post.*$", "import json; print(json.dumps([body.decode(), headers]))", code, flags=re.M)
    (folder / "secret").write_bytes(secret_file.read_bytes())
    (folder / "agent.py").write_text(code, encoding="utf-8")
    printed = run(folder, sys.executable, "agent.py", PYTHONPATH=str(ROOT / "clients" / "python"))
    body, headers = json.loads(printed)
    sent = {"content-type": "application/json", **headers}
    answer = internal.call("POST", PATH, content=body.encode(), headers=sent, door="internal_https")
    assert answer.status_code == 200, answer.text
