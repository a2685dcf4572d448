"""A method on grpcio's server for asyncio: the slower way, for TLS and as a way out."""

from typing import Final, Generic

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rpc.calls import begin, broken, settle
from rpc.service import Failure, Method, Told, WaitingT

_Context = grpc.aio.ServicerContext
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def options(method: Method[WaitingT]) -> tuple[tuple[str, int], ...]:
    """What a server for this method is to be made with."""
    return (("grpc.max_receive_message_length", method.max_bytes), ("grpc.so_reuseport", 0))


def add_to(server: grpc.aio.Server, method: Method[WaitingT]) -> None:
    """Serve on an asyncio server that has not started yet: `grpc.aio.server()` or `pygrpc_native.aio.server()`."""

    async def answer(raw: bytes, context: "_Context[bytes, bytes]") -> bytes:
        end = begin(method, raw, method.counter())
        if not isinstance(end, bytes | Failure):
            if method.told is not None:
                _tell(method.told, end, context)
            # Where the caller gives up, this is cancelled: an error to it, never a success.
            (end,) = await settle(method, (end,))
        if isinstance(end, Failure):
            await context.abort(_CODES[end.status], end.message)
        return end

    handlers = {method.name: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(method.service_name, handlers),))
    server.add_registered_method_handlers(method.service_name, handlers)  # type: ignore[attr-defined]


def _tell(told: Told[WaitingT], call: WaitingT, context: "_Context[bytes, bytes]") -> None:
    for name, value in context.invocation_metadata() or ():
        if name == told.name:
            told.tell(call, value.encode() if isinstance(value, str) else value)


class _Health(health.aio.HealthServicer, Generic[WaitingT]):  # type: ignore[misc,name-defined]
    def __init__(self, method: Method[WaitingT]) -> None:
        super().__init__()
        self._method = method

    async def Check(  # noqa: N802 the name is the protocol's
        self,
        request: health_pb2.HealthCheckRequest,
        context: "_Context[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]",
    ) -> health_pb2.HealthCheckResponse:
        try:
            known = self._method.is_serving(request.service)
        except Exception as error:  # noqa: BLE001 what it says is not for callers
            failure = broken(self._method, error)
            await context.abort(_CODES[failure.status], failure.message)
        if known:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return answer


async def add_health(server: grpc.aio.Server, method: Method[WaitingT]) -> None:
    servicer = _Health(method)
    for name in ("", method.service_name):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
