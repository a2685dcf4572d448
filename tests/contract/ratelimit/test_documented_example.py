"""The example of docs/operate/limits-service.md, asked over gRPC and through a real Envoy."""

import contextlib
import http.server
import json
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest
from google.protobuf import json_format

from apibank.envoy_process import find_envoy
from tests.contract.ratelimit.process import Served, free_port, served, until, within_one
from tests.contract.ratelimit.service import OK, OVER, UNLIMITED, descriptor

DOCS = Path(__file__).resolve().parents[3] / "docs" / "operate"
DAY = 86400


@pytest.fixture(scope="module")
def it() -> Iterator[Served]:
    with tempfile.TemporaryDirectory(prefix="rl-") as place:
        folder = Path(place) / "config"
        folder.mkdir()
        shutil.copy(DOCS / "limits-service.yaml", folder)
        with served(folder, "memory", Path(place), "--headers", "refusal", "--metadata", port=free_port()) as process:
            yield process


def test_the_example_says_what_it_says(it: Served) -> None:
    def codes(*entries: tuple[str, str], times: int) -> list[int]:
        return it.codes(descriptor(*entries), times=times, domain="shop")

    def test() -> None:
        number, user = it.fresh(), it.fresh()
        assert codes(("remote_address", "192.0.2.66"), times=1) == [OVER]
        assert codes(("message_type", "marketing"), ("to_number", number), times=6) == [OK] * 5 + [OVER]
        assert codes(("partner", user), times=3) == [OK] * 3
        free = it.ask(descriptor(("partner", "trusted")), domain="shop").statuses[0]
        assert free.limit_remaining == UNLIMITED
        banned, passing = descriptor(("remote_address", "192.0.2.66")), descriptor(("pass", user))
        assert it.ask(banned, passing, domain="shop").overall_code == OK
        quotas = descriptor(("model_small", user)), descriptor(("model_large", user))
        answers = [it.ask(*quotas, domain="shop") for _ in range(3)]
        assert [answer.overall_code for answer in answers] == [OK, OK, OVER]
        backends = [json_format.MessageToDict(each.dynamic_metadata).get("metadata") for each in answers]
        assert backends == [{"backend": "small"}, {"backend": "small"}, None]

    within_one(3600, test)


def test_the_shared_paths_of_the_example_have_one_counter_for_each_method(it: Served) -> None:
    def test() -> None:
        method = it.fresh()
        paths = [descriptor(("path", f"/api/{name}/report"), ("method", method)) for name in "abcd"]
        assert [it.ask(path, domain="shop").overall_code for path in paths] == [OK, OK, OK, OVER]
        labels = {"domain": "shop", "limit": f"path_/api/*/report.method_{method}", "outcome": "admitted"}
        assert it.metric("apibank_ratelimit_decisions_total", **labels) == 3

    within_one(60, test)


@contextlib.contextmanager
def envoy(limits: str, service: int) -> Iterator[str]:
    """The documented Envoy, on ports of its own: where it listens."""
    listen, admin = free_port(), free_port()
    text = (DOCS / "limits-service-envoy.yaml").read_text("utf-8")
    ports = {"9901": str(admin), "10000": str(listen), "8081": limits, "8080": str(service)}
    for documented, used in ports.items():
        assert text.count(f"port_value: {documented}}}") == 1
        text = text.replace(f"port_value: {documented}}}", f"port_value: {used}}}")
    command = [str(find_envoy()), "--config-yaml", text, "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"]
    process = subprocess.Popen(command)
    try:
        until(lambda: process.poll() is not None or _ready(admin))
        assert process.poll() is None
        yield f"http://127.0.0.1:{listen}"
    finally:
        process.terminate()
        process.wait(10)


def _ready(admin: int) -> bool:
    try:
        return _get(f"http://127.0.0.1:{admin}/ready")[0] == 200
    except OSError:
        return False


def _get(url: str, **headers: str) -> tuple[int, Message, bytes]:
    asked = urllib.request.Request(url, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class _Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_the_documented_envoy_is_refused_with_the_id_of_its_request(it: Served) -> None:
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    try:
        with envoy(it.target.rpartition(":")[2], service.server_address[1]) as url:

            def test() -> None:
                # Two a second from an address: who does not stop asking is refused, however slow the machine.
                answers = [_get(url)]
                until(lambda: answers.append(_get(url)) or answers[-1][0] == 429)  # type: ignore[func-returns-value]
                _, headers, body = answers[-1]
                assert answers[0][0] == 204
                assert headers["content-type"] == "application/problem+json"
                assert headers["retry-after"] == "1"
                problem = json.loads(body)
                assert (problem["status"], problem["code"]) == (429, "rate_limited")
                assert len(problem["request_id"]) == 36

            within_one(DAY, test)
    finally:
        service.shutdown()
        service.server_close()
