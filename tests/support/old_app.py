"""What was there before any gateway (R108): one FastAPI application with basic CORS and a health check.

It has what such applications have: every method, cookies, redirects, errors of its own, long answers and uploads.
"""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

ORIGIN = "https://old-pages.example"
OLD = "the old application"


def old_application() -> FastAPI:
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=[ORIGIN], allow_methods=["*"], allow_credentials=True)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(5):
                yield f"{number}\n".encode()
                await asyncio.sleep(0.05)

        return StreamingResponse(parts(), media_type="text/plain")

    @app.get("/cookie")
    async def cookie() -> Response:
        response = Response("set")
        response.set_cookie("session", "one", path="/")
        response.set_cookie("theme", "dark")
        return response

    @app.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/health?from=moved", 307)

    @app.get("/broken")
    async def broken() -> JSONResponse:
        return JSONResponse({"detail": "it broke"}, 500)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
    async def everything(path: str, request: Request) -> JSONResponse:
        body = await request.body()
        told = {
            "served_by": OLD,
            "method": request.method,
            "path": request.scope["raw_path"].decode(),
            "query": request.url.query,
            "authorization": request.headers.get("authorization"),
            "cookie": request.headers.get("cookie"),
            "size": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
        return JSONResponse(told, 201 if request.method == "POST" else 200, {"x-old": "yes"})

    return app


@contextmanager
def old_app() -> Iterator[int]:
    """Its port, on loopback."""
    server = uvicorn.Server(uvicorn.Config(old_application(), host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the old application did not start"
        time.sleep(0.02)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(20)
