"""Several HTTP applications on several ports in one process and one event loop, ended together."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import uvicorn
from starlette.types import ASGIApp

# Envoy keeps idle connections for an hour by default and must be the one to close them: a service that closes first
# meets a request on the way now and then, which is a 503.
_KEEP_ALIVE_SECONDS: Final = 7200
_GRACE_SECONDS: Final = 5
# Above what Envoy lets through (60 KiB of headers), together with what it adds.
_HEADER_BYTES: Final = 256 * 1024
_BACKLOG: Final = 2048


@dataclass(frozen=True, slots=True)
class WebListener:
    """An application and the IP address and port where it listens."""

    application: ASGIApp
    host: str
    port: int


class _Server(uvicorn.Server):
    """Leaves signals to the process: it has more than one server, and only one of them would hear of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_web(listeners: Sequence[WebListener], stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then finish what has begun. Raises OSError where an address cannot be taken."""
    with contextlib.ExitStack() as held:
        # All or none: an address that is taken is told before any application has started.
        sockets = [held.enter_context(_bound(one)) for one in listeners]
        servers = [_Server(_config(one)) for one in listeners]
        async with asyncio.TaskGroup() as serving:
            for server, bound in zip(servers, sockets, strict=True):
                serving.create_task(server.serve(sockets=[bound]))
            try:
                await stop.wait()
            finally:
                for server in servers:
                    server.should_exit = True


def _bound(listener: WebListener) -> socket.socket:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((listener.host, listener.port))
    except OSError:
        bound.close()
        raise
    return bound


def _config(listener: WebListener) -> uvicorn.Config:
    return uvicorn.Config(
        listener.application,
        loop="none",  # the loop runs already
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # an address in a header is no evidence; what needs it reads it itself
        lifespan="auto",
        ws="none",
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=_HEADER_BYTES,
    )
