"""Demo upstream services: they answer with what reached them, and count it, so that anybody can see what got through.

`GET /__hits` answers how many requests a service has had, as one decimal number; neither it nor `/healthz` counts.
The platform's service and the orchestration engine of the agents are none of them: they are real.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from apibank.counted import Counted, answer
from apibank.ports import LOOPBACK
from apibank.web import WebListener


class Echo:
    """Answers each request with JSON that tells what it was.

    `service`, `method`, `path` (as received, with its query), `headers` (lower-case names; repeated ones joined as
    RFC 9110 §5.3 says), `header_lines` (name and value of each, in order), `body_bytes`, `body_sha256`. Agents take
    work: a POST to /api/ is also told `"status": "processing"` and its `request_id` (R44).
    """

    def __init__(self, service: str) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        size, digest = await _body(receive)
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        lines = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        headers = _joined(lines)
        seen: dict[str, object] = {
            "service": self._service,
            "method": scope["method"],
            "path": path,
            "headers": headers,
            "header_lines": lines,
            "body_bytes": size,
            "body_sha256": digest,
        }
        if scope["method"] == "POST" and path.startswith("/api/"):
            seen |= {"status": "processing", "request_id": headers.get("x-request-id") or str(uuid.uuid4())}
        await answer(send, orjson.dumps(seen), b"application/json")


def demo_service(name: str) -> ASGIApp:
    """The application of one service."""
    return Counted(Echo(name))


def demo_listeners(ports: Mapping[str, int]) -> list[WebListener]:
    """One listener per service, on loopback: port by service name. `apibank.web.serve_web` runs them."""
    return [WebListener(demo_service(name), LOOPBACK, port) for name, port in ports.items()]


async def _body(receive: Receive) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        digest.update(chunk)
        size += len(chunk)
        if not message.get("more_body"):
            return size, digest.hexdigest()


def _joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in lines:
        # Cookies alone are joined by another separator (RFC 9113 §8.2.3).
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers
