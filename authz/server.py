"""The gRPC service envoy.service.auth.v3.Authorization, on either of two servers."""

import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.authorizer import Authorizer
from authz.native_front import NativeFront
from authz.request import MAX_CHECK_BYTES
from authz.service import CheckService, Failure
from authz.unsettled import Unsettled

SERVICE: Final = "envoy.service.auth.v3.Authorization"
# What health checks put before the version of a policy to ask for it.
POLICY: Final = "policy."
_Context = grpc.aio.ServicerContext
ServerKind = Literal["native", "grpcio"]

_OPTIONS: Final = (("grpc.max_receive_message_length", MAX_CHECK_BYTES), ("grpc.so_reuseport", 0))
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _stop: Callable[[float], Awaitable[None]]

    async def stop(self, grace: float = 2.0) -> None:
        """Stops taking checks and gives those under way `grace` seconds."""
        await self._stop(grace)


async def serve(
    authorizer: Authorizer,
    listen: str,
    kind: ServerKind = "native",
    credentials: grpc.ServerCredentials | None = None,
) -> Running:
    """Serves checks on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped, with gRPC health.

    Whoever reaches this port can ask who may pass, so without TLS it is a Unix socket or a loopback address (attack
    A69): ValueError otherwise. TLS needs `kind="grpcio"`. RuntimeError when the address is taken.
    """
    if credentials is None and not _is_private(listen):
        raise ValueError(f"authz on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if credentials is not None and kind != "grpcio":
        raise ValueError("TLS is served by grpcio only")
    service = CheckService(authorizer)
    if kind == "native":
        front = NativeFront(service, SERVICE, listen, lambda name: is_serving(authorizer, name))
        front.start()
        return Running(0 if listen.startswith("unix:") else front.port, front.stop)
    server = grpc.aio.server(options=_OPTIONS)
    add_to(server, service)
    await _add_health(server, authorizer)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return Running(0 if listen.startswith("unix:") else port, server.stop)


def add_to(server: grpc.aio.Server, service: CheckService) -> None:
    """Serve on an asyncio server that has not started yet: `grpc.aio.server()` or `pygrpc_native.aio.server()`."""

    async def check(raw: bytes, context: "_Context[bytes, bytes]") -> bytes:
        answer = service.begin(raw, service.authorizer.counter())
        if isinstance(answer, Unsettled):
            # Where Envoy gives up, this is cancelled: an error to it, never a success.
            (answer,) = await service.settle((answer,))
        if isinstance(answer, Failure):
            await context.abort(_CODES[answer.status], answer.message)
        return answer

    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]


def is_serving(authorizer: Authorizer, name: str) -> bool:
    """Whether health checks for this name are answered with SERVING.

    `policy.<version>` is, while checks are decided by that version of the policy: whoever tells Envoy to send a
    version asks for it here first.
    """
    version = name.removeprefix(POLICY)
    return name in {"", SERVICE} or (version != name and authorizer.decides_by(version))


def _is_private(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(listen.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        return False


class _Health(health.aio.HealthServicer):  # type: ignore[misc,name-defined]
    def __init__(self, authorizer: Authorizer) -> None:
        super().__init__()
        self._authorizer = authorizer

    async def Check(  # noqa: N802 the name is the protocol's
        self,
        request: health_pb2.HealthCheckRequest,
        context: "_Context[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]",
    ) -> health_pb2.HealthCheckResponse:
        if is_serving(self._authorizer, request.service):
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return answer


async def _add_health(server: grpc.aio.Server, authorizer: Authorizer) -> None:
    servicer = _Health(authorizer)
    for name in ("", SERVICE):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
