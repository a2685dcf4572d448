"""ShouldRateLimit on pygrpc-native's batches: HTTP/2 in Rust threads, and calls handed over as many as are waiting.

A batch is charged in one step of the store, and costs Python one task instead of one for each call.
"""

import asyncio
import threading
from collections.abc import Sequence
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from ratelimit.service import Failure, RateLimitService, Status

_MOST_AT_ONCE: Final = 256
_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
_UNKNOWN_SERVICE: Final = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
).SerializeToString()

# (kind, call, method, payload, client key), as NativeGrpcFront hands them over.
_Event = tuple[int, int, int, bytes | None, bytes | str | None]


class NativeFront:
    """A server for `service` under the gRPC name `name`, with health checks, on `listen`; RuntimeError if taken."""

    def __init__(self, service: RateLimitService, name: str, listen: str) -> None:
        self._service, self._name = service, name
        methods = [(f"/{name}/ShouldRateLimit", False), (f"/{_HEALTH}/Check", False), (f"/{_HEALTH}/Watch", True)]
        try:
            self._front = NativeGrpcFront(listen, methods)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {listen}: {error}") from error
        self._batches: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        return self._front.bound_port

    def start(self) -> None:
        """Answer on the running event loop."""
        loop = asyncio.get_running_loop()
        self._front.start()
        threading.Thread(target=self._receive, args=(loop,), name="ratelimit-calls", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Take no more calls, give those under way `grace` seconds, and close."""
        self._stopping = True
        if self._batches:
            await asyncio.wait(self._batches, timeout=grace)
        await asyncio.to_thread(self._front.close)

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        while (events := self._front.recv_batch(_MOST_AT_ONCE)) is not None:
            try:
                loop.call_soon_threadsafe(self._take, events)
            except RuntimeError:
                # The loop was closed without stop().
                self._front.close()
                return

    def _take(self, events: Sequence[_Event]) -> None:
        calls, requests = [], []
        for kind, call, method, payload, _ in events:
            if kind != EVENT_CALL:
                # A caller that left. What it asked is being charged, or has been: there is nothing to stop.
                continue
            payload = payload or b""
            if self._stopping:
                self._front.fail(call, Status.UNAVAILABLE, "the server is shutting down")
            elif method == 0:
                calls.append(call)
                requests.append(payload)
            else:
                self._tell_health(call, payload, watching=method == 2)
        if calls:
            batch = asyncio.create_task(self._answer(calls, requests))
            self._batches.add(batch)
            batch.add_done_callback(self._batches.discard)

    async def _answer(self, calls: Sequence[int], requests: Sequence[bytes]) -> None:
        front = self._front
        for call, answer in zip(calls, await self._service.answer_many(requests), strict=True):
            if isinstance(answer, Failure):
                front.fail(call, answer.status, answer.message)
            else:
                front.respond(call, answer)

    def _tell_health(self, call: int, payload: bytes, watching: bool) -> None:
        """gRPC Health Checking Protocol: who watches keeps the stream and hears of changes, of which there are none."""
        try:
            asked = health_pb2.HealthCheckRequest.FromString(payload).service
        except DecodeError:
            self._front.fail(call, Status.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        known = asked in {"", self._name}
        if watching:
            self._front.stream_try_send(call, _SERVING if known else _UNKNOWN_SERVICE)
        elif known:
            self._front.respond(call, _SERVING)
        else:
            self._front.fail(call, Status.NOT_FOUND, "unknown service")
