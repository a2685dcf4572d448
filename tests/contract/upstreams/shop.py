"""A gateway with one door, and the services behind it, which do as they are told."""

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

POLICY: dict[str, Any] = {
    "gateway": "shop",
    "description": "One door, one service.",
    "owners": ["tests@waooaw.ai"],
    "callers": {"partners": True},
    "tiers": ["business"],
    "limits": {"address": {"per": "address", "requests": 1_000_000}},
    "defaults": {"methods": {"GET": "read", "POST": "write"}, "limits": []},
    "routes": {"all": {"path": "/", "access": "public", "upstream": "service"}},
}


class Host:
    """A service on a port of its own. `status` is what it answers, `health` what it says of itself."""

    def __init__(self) -> None:
        host = self
        self.status = self.health = 200
        self.hits = 0
        self.seconds = 0.0
        self.path = ""

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    status = host.health
                else:
                    host.hits += 1
                    host.path = self.path
                    status = host.status
                    time.sleep(host.seconds)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.endpoint = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclasses.dataclass(frozen=True)
class Shop:
    """The running gateway: `port` is its door, `admin` the address of its Envoy's admin interface."""

    port: int
    admin: str

    def status(self, path: str = "/", *, port: int | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()

    def stat(self, name: str) -> int:
        """The sum of the counters and gauges whose names match."""
        connection = http.client.HTTPConnection(self.admin.removeprefix("http://"), timeout=5)
        try:
            connection.request("GET", f"/stats?format=json&filter={name}")
            stats = json.loads(connection.getresponse().read())["stats"]
            return sum(one["value"] for one in stats if "value" in one)
        finally:
            connection.close()


class Open(Protocol):
    def __call__(self, upstream: dict[str, Any], **changes: Any) -> contextlib.AbstractContextManager[Shop]: ...


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
