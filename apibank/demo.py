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
from apibank.demo_orders import Orders
from apibank.ports import LOOPBACK
from apibank.web import WebListener
from messaging.bus import BusError, QueueFullError
from portal.problems import problem


class Echo:
    """Answers each request with JSON that tells what it was.

    `service`, `method`, `path` (as received, with its query), `headers` (lower-case names; repeated ones joined as
    RFC 9110 §5.3 says), `header_lines` (name and value of each, in order), `body_bytes`, `body_sha256`. Where there
    is a bus, a POST to /api/ goes to orchestration, and is also told `"status": "processing"` and its `request_id`
    (R44).
    """

    def __init__(self, service: str, orders: Orders | None = None) -> None:
        self._service, self._orders = service, orders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await _body(receive)
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
            "body_bytes": len(body),
            "body_sha256": hashlib.sha256(body).hexdigest(),
        }
        if self._orders is not None and scope["method"] == "POST" and path.startswith("/api/"):
            request_id = headers.get("x-request-id") or str(uuid.uuid4())
            try:
                # Without the query, where clients put what they should not.
                await self._orders.accept(self._service, path.partition("?")[0], body, request_id)
            except BusError as error:
                await problem(503, *_said(error), request_id=request_id)(scope, receive, send)
                return
            seen |= {"status": "processing", "request_id": request_id}
        await answer(send, orjson.dumps(seen), b"application/json")


def demo_service(name: str, orders: Orders | None = None) -> ASGIApp:
    """The application of one service."""
    return Counted(Echo(name, orders))


def demo_listeners(ports: Mapping[str, int], orders: Orders | None = None) -> list[WebListener]:
    """One listener per service, on loopback: port by service name. `apibank.web.serve_web` runs them."""
    return [WebListener(demo_service(name, orders), LOOPBACK, port) for name, port in ports.items()]


def _said(error: BusError) -> tuple[str, str]:
    if isinstance(error, QueueFullError):
        return "queue_full", "Orchestration has as much to do as it may have. Send it again after a moment."
    return "bus_away", "Orchestration cannot be told at the moment. Send it again."


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


def _joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in lines:
        # Cookies alone are joined by another separator (RFC 9113 §8.2.3).
        separator = "; " if name == "cookie" else ", "
        headers[name] = f"{headers[name]}{separator}{value}" if name in headers else value
    return headers
