"""The gRPC service envoy.service.auth.v3.Authorization: one servicer, on either of two servers.

Nothing passes by accident: whatever goes wrong in here is answered with a denial, and whatever goes wrong around it
reaches Envoy as an error, which its filter turns into a 503.
"""

import asyncio
import ipaddress
import traceback
from dataclasses import dataclass
from typing import Final, Literal

import grpc
import pygrpc_native.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.authorizer import Authorizer
from authz.request import MAX_CHECK_BYTES
from authz.wire import Answers, read_request, write_failure
from protos import ext_authz_pb2 as pb
from protos import ext_authz_pb2_grpc as pb_grpc

SERVICE: Final = "envoy.service.auth.v3.Authorization"
# What health checks put before the version of a policy to ask for it.
POLICY: Final = "policy."
_HealthContext = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
ServerKind = Literal["native", "grpcio"]

_LOG: Final = structlog.get_logger(__name__)
_OPTIONS: Final = (("grpc.max_receive_message_length", MAX_CHECK_BYTES), ("grpc.so_reuseport", 0))


class Authorization(pb_grpc.AuthorizationServicer):
    """Check, for `grpc.aio.server()` and `pygrpc_native.aio.server()` alike."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer
        self._answers = Answers()

    async def Check(  # noqa: N802 the name is the protocol's
        self, request: pb.CheckRequest, context: "grpc.aio.ServicerContext[pb.CheckRequest, pb.CheckResponse]"
    ) -> pb.CheckResponse:
        asked = None
        try:
            asked = read_request(request)
            return self._answers.write(await self._authorizer.authorize(asked), asked)
        except asyncio.CancelledError:
            # Envoy gave up. That is an error to it, never a success.
            raise
        except Exception as error:  # noqa: BLE001 whatever it was, the answer is no
            # Its type and place, not its text, which may hold a credential.
            place = traceback.extract_tb(error.__traceback__)[-1]
            _LOG.error("check_failed", error=type(error).__name__, file=place.filename, line=place.lineno)
            self._authorizer.failed(asked)
            return write_failure("" if asked is None else asked.request_id)


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _server: "grpc.aio.Server"

    async def stop(self, grace: float = 2.0) -> None:
        """Stops taking checks and gives those under way `grace` seconds."""
        await self._server.stop(grace)


def _is_private(listen: str) -> bool:
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(
    authorizer: Authorizer,
    listen: str,
    kind: ServerKind = "native",
    credentials: grpc.ServerCredentials | None = None,
) -> Running:
    """Serves checks on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped.

    Whoever reaches this port can ask who may pass, so without TLS it is a Unix socket or a loopback address (attack
    A69): ValueError otherwise. TLS needs `kind="grpcio"`. RuntimeError when the address is taken.
    """
    if credentials is None and not _is_private(listen):
        raise ValueError(f"authz on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if credentials is not None and kind != "grpcio":
        raise ValueError("TLS is served by grpcio only")
    server = pygrpc_native.aio.server(options=_OPTIONS) if kind == "native" else grpc.aio.server(options=_OPTIONS)
    pb_grpc.add_AuthorizationServicer_to_server(Authorization(authorizer), server)  # type: ignore[no-untyped-call]
    await _add_health(server, authorizer)
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return Running(0 if listen.startswith("unix:") else port, server)


class _Health(health.aio.HealthServicer):  # type: ignore[misc,name-defined]
    """gRPC health; `policy.<version>` is SERVING while checks are decided by that version of the policy.

    Whoever tells Envoy to send a version asks for it here first.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        super().__init__()
        self._authorizer = authorizer

    async def Check(  # noqa: N802 the name is the protocol's
        self, request: health_pb2.HealthCheckRequest, context: _HealthContext
    ) -> health_pb2.HealthCheckResponse:
        version = request.service.removeprefix(POLICY)
        if version != request.service and version in self._authorizer.versions:
            return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return answer


async def _add_health(server: "grpc.aio.Server", authorizer: Authorizer) -> None:
    servicer = _Health(authorizer)
    for name in ("", SERVICE):
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
