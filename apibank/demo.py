"""Demo upstream services: they answer with what reached them, and count it, so that anybody can see what got through.

`GET /__hits` answers how many requests a service has had, as one decimal number; neither it nor `/healthz` counts.
The platform's service has its real API in front.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping
from typing import Final

import orjson
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from apibank.counted import Counted, answer
from apibank.ports import LOOPBACK
from apibank.web import WebListener
from portal.platform_api import HealthCheck, PlatformProbes, platform_router

PLATFORM: Final = "platform"


class Echo:
    """Answers each request with JSON that tells what it was.

    `service`, `method`, `path` (as received, with its query), `headers` (lower-case names; repeated ones joined as
    RFC 9110 §5.3 says), `header_lines` (name and value of each, in order), `body_bytes`, `body_sha256`. Agents take
    work: a POST to /api/ is also told `"status": "processing"` and its `request_id` (R44).
    """

    def __init__(self, service: str, *, takes_work: bool) -> None:
        self._service = service
        self._takes_work = takes_work

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
        if self._takes_work and scope["method"] == "POST" and path.startswith("/api/"):
            seen |= {"status": "processing", "request_id": headers.get("x-request-id") or str(uuid.uuid4())}
        await answer(send, orjson.dumps(seen), b"application/json")


def demo_service(name: str, probes: PlatformProbes) -> ASGIApp:
    """The application of one service; `probes` are for the platform's health and serve no other."""
    echo = Echo(name, takes_work=name != PLATFORM)
    if name != PLATFORM:
        return Counted(echo)
    platform = FastAPI(title="Platform API", docs_url=None, redoc_url=None, openapi_url=None)
    platform.include_router(platform_router(HealthCheck(probes)))
    platform.mount("/", echo)
    return Counted(platform)


def demo_listeners(ports: Mapping[str, int], probes: PlatformProbes) -> list[WebListener]:
    """One listener per service, on loopback: port by service name. `apibank.web.serve_web` runs them."""
    return [WebListener(demo_service(name, probes), LOOPBACK, port) for name, port in ports.items()]


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
