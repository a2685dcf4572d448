"""Services that do what the query of a request says, and one Envoy in front of them."""

import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.contract.xds_compiler.services import Authz, RateLimit

Answer = tuple[int, dict[str, str], bytes]


class Backend:
    """Answers with what it was sent, and remembers it.

    `?fail=N`: the first N requests with that query's `id` are 503. `?sleep=MS`: later. `?events=N&every=MS`: chunks.
    `?refuse=1`: 400, with and without an upgrade.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self._failures: dict[str, int] = {}
        backend = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                backend.serve(self)

            do_GET = do_POST = do_PUT = do_OPTIONS = handle_any  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length") or 0)
        body = request.rfile.read(length)
        pairs = [(name.lower(), value) for name, value in request.headers.items()]
        seen = {
            "by": self.name,
            "method": request.command,
            "path": request.path,
            "headers": dict(pairs),
            "pairs": pairs,
            "length": len(body),
        }
        self.seen.append(seen)
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        time.sleep(int(query.get("sleep", 0)) / 1000)
        try:
            if "refuse" in query:
                self._answer(request, 400, b"{}")
            elif "upgrade" in seen["headers"]:
                self._echo(request)
            elif "events" in query:
                self._stream(request, int(query["events"]), int(query["every"]) / 1000)
            else:
                self._answer(request, 503 if self._fails(query) else 200, json.dumps(seen).encode())
        except OSError:
            # Envoy has given up waiting.
            request.close_connection = True

    def _fails(self, query: dict[str, str]) -> bool:
        failed = self._failures.get(query.get("id", ""), 0)
        self._failures[query.get("id", "")] = failed + 1
        return failed < int(query.get("fail", 0))

    def _answer(self, request: BaseHTTPRequestHandler, status: int, content: bytes) -> None:
        request.send_response(status)
        request.send_header("content-type", "application/json")
        request.send_header("content-length", str(len(content)))
        request.send_header("x-powered-by", "secret")
        request.send_header("link", '</next>; rel="next"')
        request.end_headers()
        request.wfile.write(content)

    def _stream(self, request: BaseHTTPRequestHandler, count: int, every: float) -> None:
        request.send_response(200)
        request.send_header("content-type", "text/event-stream")
        request.send_header("transfer-encoding", "chunked")
        request.end_headers()
        for number in range(count):
            event = b"data: %d\n\n" % number
            request.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            request.wfile.flush()
            time.sleep(every)
        request.wfile.write(b"0\r\n\r\n")

    def _echo(self, request: BaseHTTPRequestHandler) -> None:
        request.send_response(101)
        request.send_header("connection", "upgrade")
        request.send_header("upgrade", "websocket")
        request.end_headers()
        request.close_connection = True
        while line := request.rfile.readline():
            request.wfile.write(line)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Road:
    """One Envoy whose routes have traffic policies, and what stands around it."""

    port: int
    admin: str
    authz: Authz = field(default_factory=Authz)
    ratelimit: RateLimit = field(default_factory=RateLimit)
    backends: dict[str, Backend] = field(
        default_factory=lambda: {name: Backend(name) for name in ("blue", "green", "shadow")}
    )

    def call(
        self, method: str, path: str, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own: status, headers (several of a name joined), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            joined: dict[str, str] = {}
            for name, value in answer.getheaders():
                key = name.lower()
                joined[key] = f"{joined[key]}, {value}" if key in joined else value
            return answer.status, joined, answer.read()
        finally:
            connection.close()

    def seen(self, name: str = "blue", *, within: float = 5) -> dict[str, Any]:
        """The last request of a service; waits for the first, because copies come when they come."""
        end = time.monotonic() + within
        while not self.backends[name].seen and time.monotonic() < end:
            time.sleep(0.01)
        return self.backends[name].seen[-1]

    def forget(self) -> None:
        for backend in self.backends.values():
            backend.seen.clear()
        self.authz.asked.clear()
        self.ratelimit.asked.clear()

    def stop(self) -> None:
        for backend in self.backends.values():
            backend.stop()
