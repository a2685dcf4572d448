"""The gRPC service envoy.service.auth.v3.Authorization, on either of two servers."""

from typing import Final

import grpc

from authz.authorizer import Authorizer
from authz.request import MAX_CHECK_BYTES
from authz.service import CheckService
from authz.unsettled import Unsettled
from rpc.server import Running, ServerKind, serve_method
from rpc.service import Method

SERVICE: Final = "envoy.service.auth.v3.Authorization"
# What health checks put before the version of a policy to ask for it.
POLICY: Final = "policy."


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
    return await serve_method(check_method(authorizer), listen, kind, credentials)


def check_method(authorizer: Authorizer) -> Method[Unsettled]:
    return Method(
        SERVICE,
        "Check",
        CheckService(authorizer),
        lambda name: is_serving(authorizer, name),
        counter=authorizer.counter,
        max_bytes=MAX_CHECK_BYTES,
    )


def is_serving(authorizer: Authorizer, name: str) -> bool:
    """Whether health checks for this name are answered with SERVING.

    `policy.<version>` is, while checks are decided by that version of the policy: whoever tells Envoy to send a
    version asks for it here first.
    """
    version = name.removeprefix(POLICY)
    return name in {"", SERVICE} or (version != name and authorizer.decides_by(version))
