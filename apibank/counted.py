"""Counts what reaches a service of the embedded stack, so that anybody can see what got through."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

HITS_PATH: Final = "/__hits"
HEALTH_PATH: Final = "/healthz"
_OWN: Final = frozenset({HEALTH_PATH, "/ready", "/metrics"})


class Counted:
    """Counts the requests of an application, and tells at `/__hits` how many there were.

    What asks how it is does not count: `/healthz`, which is answered here, `/ready` and `/metrics`.
    """

    def __init__(self, application: ASGIApp) -> None:
        self._application = application
        self._hits = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"] == HEALTH_PATH:
                await answer(send, b"ok\n", b"text/plain")
                return
            if scope["path"] == HITS_PATH:
                await answer(send, str(self._hits).encode(), b"text/plain")
                return
            if scope["path"] not in _OWN:
                self._hits += 1
        await self._application(scope, receive, send)


async def answer(send: Send, body: bytes, content_type: bytes) -> None:
    """A whole answer, 200."""
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
