"""A real Prometheus and Alertmanager that watch a running federation, and a receiver of what they tell."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Final, TypeVar

import httpx2
import yaml

from apibank.ports import is_free
from apibank.scraping import RULES, prometheus_config
from tests.support.stack import Stack

PROGRAMS: Final = ("prometheus", "prometheus-alertmanager", "promtool")
MISSING: Final = [name for name in PROGRAMS if shutil.which(name) is None]
Found = TypeVar("Found")


@dataclass(slots=True)
class Monitoring:
    """Asks Prometheus, and holds what its Alertmanager told the receiver."""

    address: str
    told: list[Mapping[str, Any]] = field(default_factory=list)

    def ask(self, path: str, **parameters: str) -> Any:
        answer = httpx2.get(f"http://{self.address}/api/v1/{path}", params=parameters, timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def query(self, expression: str) -> Sequence[Mapping[str, Any]]:
        """The samples of an expression that are numbers."""
        found = self.ask("query", query=expression)
        assert found["resultType"] == "vector", expression
        return [one for one in found["result"] if one["value"][1] != "NaN"]


def eventually(look: Callable[[], Found], within: float = 60.0) -> Found:
    """What is found as soon as it is true, or at the end."""
    deadline = time.monotonic() + within
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return found


@contextlib.contextmanager
def monitoring(stack: Stack, folder: Path) -> Iterator[Monitoring]:
    """Both, looking each second, and with rules that wait for one second where they would for minutes."""
    first = 11_000 + os.getpid() % 900
    prometheus, manager, receiver = _ports(first)
    rules = folder / "rules"
    rules.mkdir()
    for file in RULES.glob("*.yaml"):
        text = re.sub(r"\bfor: \w+", "for: 1s", file.read_text(encoding="utf-8"))
        (rules / file.name).write_text(re.sub(r" +keep_firing_for: \w+\n", "", text), encoding="utf-8")
    alerting = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{manager}"]}]}]}
    config = {**prometheus_config(stack.ready, rules, 1), "alerting": alerting}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    route = {"receiver": "test", "group_wait": "1s", "group_interval": "1s", "group_by": ["alertname"]}
    hook = {"name": "test", "webhook_configs": [{"url": f"http://127.0.0.1:{receiver}/"}]}
    (folder / "alertmanager.yml").write_text(yaml.safe_dump({"route": route, "receivers": [hook]}), encoding="utf-8")
    running = Monitoring(f"127.0.0.1:{prometheus}")
    commands = (
        (
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
        ),
        (
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alerts'}",
            f"--web.listen-address=127.0.0.1:{manager}",
            "--cluster.listen-address=",
        ),
    )
    with contextlib.ExitStack() as processes:
        processes.enter_context(_receiver(receiver, running.told))
        for command in commands:
            processes.enter_context(_process(command, folder / f"{command[0]}.log"))
        assert eventually(lambda: _is_ready(running.address)), (folder / "prometheus.log").read_text()[-3000:]
        yield running


def _ports(first: int) -> tuple[int, int, int]:
    one, two, three, *_ = (port for port in range(first, first + 100) if is_free(port))
    return one, two, three


def _is_ready(address: str) -> bool:
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"http://{address}/-/ready", timeout=2).status_code == 200
    return False


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _receiver(port: int, told: list[Mapping[str, Any]]) -> Iterator[None]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            told.extend(json.loads(self.rfile.read(length))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name of http.server
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", port), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
