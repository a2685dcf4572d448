"""Whether a gateway's authorization knows a policy version yet: on this machine by gRPC, on other hosts by HTTP.

Envoy must not send a version that authz would refuse (docs/adr/0010), so routes are published once authz answers
SERVING for the service name `policy.<version>`. Its socket is out of reach on another host: there the address that
shows its metrics answers `/policies/<version>` (docs/adr/0045). A name may stand for several hosts, as that of a
headless Service stands for its pods: each is asked (docs/adr/0041).
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Final

import grpc
import httpx2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from policy.model import Gateway

POLICY_SERVICE: Final = "policy."
# Long enough for a gateway's process to read its file again; after it the change goes out and authz fails closed.
PATIENCE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.01
_POLL_HOSTS_SECONDS: Final = 0.1
_CALL_SECONDS: Final = 0.5


# HOST:PORT -> ADDRESS:PORT of every host of that name; none where nobody knows the name.
Resolve = Callable[[str], Awaitable[Sequence[str]]]


class Knows(Enum):
    """What one host's authorization says of a version."""

    YES = "yes"
    NO = "no"
    SILENT = "silent"


class PolicyGate:
    """Asks for a gateway's version where its authorization is. `hosts`: HOST:PORT of those on other machines."""

    def __init__(self, hosts: Mapping[str, Sequence[str]] | None = None, resolve: Resolve | None = None) -> None:
        self._hosts = hosts or {}
        self._resolve = resolve or addresses_of

    def is_far(self, name: str) -> bool:
        """Whether the gateway's authorization is on other hosts."""
        return name in self._hosts

    async def known(self, gateway: Gateway, within: float = PATIENCE_SECONDS) -> Mapping[str, Knows]:
        """What each place says, waiting `within` seconds until all say yes."""
        named = self._hosts.get(gateway.gateway)
        if named is None:
            endpoint = gateway.services.authz.endpoint
            known = await policy_known(endpoint, gateway.version, within)
            return {endpoint: Knows.YES if known else Knows.SILENT}
        deadline = time.monotonic() + within
        async with httpx2.AsyncClient(trust_env=False, timeout=_CALL_SECONDS) as client:
            while True:
                # Looked up anew each time: hosts come and go while they are asked.
                found = await asyncio.gather(*map(self._resolve, named))
                places = [each for name, addresses in zip(named, found, strict=True) for each in addresses or (name,)]
                said = await asyncio.gather(*(_said(client, place, gateway) for place in places))
                if time.monotonic() >= deadline or all(one is Knows.YES for one in said):
                    return dict(zip(places, said, strict=True))
                await asyncio.sleep(_POLL_HOSTS_SECONDS)


async def addresses_of(place: str) -> Sequence[str]:
    """Those of a HOST:PORT, by the machine's resolver; in IPv4 where there are any, lest a host is asked twice."""
    host, _, port = place.rpartition(":")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return ()
    by_family = {
        wanted: sorted({str(at[0]) for family, _, _, _, at in found if family == wanted})
        for wanted in (socket.AF_INET, socket.AF_INET6)
    }
    return [f"{at}:{port}" for at in by_family[socket.AF_INET]] or [
        f"[{at}]:{port}" for at in by_family[socket.AF_INET6]
    ]


async def _said(client: httpx2.AsyncClient, place: str, gateway: Gateway) -> Knows:
    with suppress(httpx2.HTTPError):
        answer = await client.get(f"http://{place}/policies/{gateway.version}")
        # Anything else is said by somebody else, or by one that is just starting.
        return {200: Knows.YES, 404: Knows.NO}.get(answer.status_code, Knows.SILENT)
    return Knows.SILENT


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
