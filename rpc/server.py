"""A method of a service, on either of two gRPC servers (docs/adr/0004)."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import grpc

from rpc import grpcio_server
from rpc.native_front import NativeFront
from rpc.service import Method, WaitingT

ServerKind = Literal["native", "grpcio"]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _stop: Callable[[float], Awaitable[None]]

    async def stop(self, grace: float = 2.0) -> None:
        """Stops taking calls and gives those under way `grace` seconds."""
        await self._stop(grace)


async def serve_method(
    method: Method[WaitingT],
    listen: str,
    kind: ServerKind = "native",
    credentials: grpc.ServerCredentials | None = None,
    *,
    exposed: bool = False,
) -> Running:
    """Serves on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped, with gRPC health.

    Without TLS that is a Unix socket or a loopback address, unless `exposed` says that a network of its own protects
    it: ValueError otherwise, and for what is no address. TLS needs `kind="grpcio"`. RuntimeError when the address is
    taken.
    """
    if ":" not in listen:
        raise ValueError(f"{listen} is no address to listen on: HOST:PORT or unix:/PATH")
    if credentials is None and not exposed and not is_private(listen):
        what = method.service_name
        raise ValueError(f"{what} on {listen} needs TLS: only a Unix socket or HOST:PORT of loopback goes without")
    if credentials is not None and kind != "grpcio":
        raise ValueError("TLS is served by grpcio only")
    if kind == "native":
        front = NativeFront(method, listen)
        front.start()
        return _running(listen, front.port, front.stop)
    server = grpc.aio.server(options=grpcio_server.options(method))
    grpcio_server.add_to(server, method)
    await grpcio_server.add_health(server, method)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return _running(listen, port, server.stop)


def is_private(listen: str) -> bool:
    """Whether only this machine can reach `listen`."""
    if listen.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


def _running(listen: str, port: int, stop: Callable[[float], Awaitable[None]]) -> Running:
    return Running(0 if listen.startswith("unix:") else port, stop)
