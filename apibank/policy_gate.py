"""Whether a gateway's authorization service knows a policy version yet, asked by gRPC health checking.

Envoy must not send a version that authz would refuse (docs/adr/0010), so routes are published once authz answers
SERVING for the service name `policy.<version>`.
"""

import asyncio
import time
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

POLICY_SERVICE: Final = "policy."
# Long enough for a gateway's process to read its file again; after it the change goes out and authz fails closed.
PATIENCE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.01
_CALL_SECONDS: Final = 0.5


async def policy_known(endpoint: str, version: str, within: float = PATIENCE_SECONDS) -> bool:
    """Whether the service at HOST:PORT or unix:/PATH decides by this version, waiting `within` seconds for it."""
    deadline = time.monotonic() + within
    async with grpc.aio.insecure_channel(endpoint) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        while not await _serving(stub, version):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
    return True


async def _serving(stub: health_pb2_grpc.HealthStub, version: str) -> bool:
    request = health_pb2.HealthCheckRequest(service=POLICY_SERVICE + version)
    try:
        answer = await stub.Check(request, timeout=_CALL_SECONDS)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
