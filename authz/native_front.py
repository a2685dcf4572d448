"""Check on pygrpc-native's batches: HTTP/2 in Rust threads, and calls handed over as many as are waiting.

What needs no waiting is answered one after the other, without a task; the others of a batch wait together.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from authz.service import CheckService, Failure, Status
from authz.unsettled import Awaited, Unsettled

# Few enough for whatever else the event loop has to do not to wait long.
_MOST_AT_ONCE: Final = 64
_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
_UNKNOWN_SERVICE: Final = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
).SerializeToString()
_CHECK: Final = 0
_WATCH: Final = 2

# (kind, call, method, payload, client key), as NativeGrpcFront hands them over.
_Event = tuple[int, int, int, bytes | None, bytes | str | None]


class NativeFront:
    """A server for `service` under the gRPC name `name`, with health checks, on `listen`; RuntimeError if taken."""

    def __init__(self, service: CheckService, name: str, listen: str, is_serving: Callable[[str], bool]) -> None:
        """`is_serving`: what is answered to a health check for a name."""
        self._service, self._is_serving = service, is_serving
        self._counter = service.authorizer.counter
        methods = [(f"/{name}/Check", False), (f"/{_HEALTH}/Check", False), (f"/{_HEALTH}/Watch", True)]
        try:
            # Only with the details of calls is one told of those that were given up.
            self._front = NativeGrpcFront(listen, methods, call_details=True)
        except OSError as error:
            raise RuntimeError(f"cannot listen on {listen}: {error}") from error
        self._waiting: dict[int, Unsettled] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        return self._front.bound_port

    def start(self) -> None:
        """Answer on the running event loop."""
        loop = asyncio.get_running_loop()
        self._front.start()
        threading.Thread(target=self._receive, args=(loop,), name="authz-calls", daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Take no more calls, give those under way `grace` seconds, and close."""
        self._stopping = True
        if self._settling:
            await asyncio.wait(self._settling, timeout=grace)
        for each in self._settling:
            each.cancel()
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
        started, begin, respond = self._counter(), self._service.begin, self._front.respond
        unsettled: dict[Awaited, list[tuple[int, Unsettled]]] = {}
        for kind, call, method, payload, _ in events:
            if kind != EVENT_CALL:
                self._give_up(call)
            elif self._stopping:
                self._front.fail(call, Status.UNAVAILABLE, "the server is shutting down")
            elif method != _CHECK:
                self._tell_health(call, payload or b"", watching=method == _WATCH)
            else:
                answer = begin(payload or b"", started)
                if isinstance(answer, bytes):
                    respond(call, answer)
                elif isinstance(answer, Failure):
                    self._front.fail(call, answer.status, answer.message)
                else:
                    self._waiting[call] = answer
                    unsettled.setdefault(answer.awaited, []).append((call, answer))
        for group in unsettled.values():
            task = asyncio.create_task(self._settle(group))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    def _give_up(self, call: int) -> None:
        """The caller left. What had to wait ends as a refusal; what had not has been answered."""
        unsettled = self._waiting.get(call)
        if unsettled is not None:
            unsettled.given_up = True

    async def _settle(self, group: Sequence[tuple[int, Unsettled]]) -> None:
        try:
            answers = await self._service.settle([unsettled for _, unsettled in group])
            for (call, _), answer in zip(group, answers, strict=True):
                self._front.respond(call, answer)
        finally:
            for call, _ in group:
                del self._waiting[call]

    def _tell_health(self, call: int, payload: bytes, watching: bool) -> None:
        """gRPC Health Checking Protocol: who watches keeps the stream and hears of changes, of which there are none."""
        try:
            asked = health_pb2.HealthCheckRequest.FromString(payload).service
        except DecodeError:
            self._front.fail(call, Status.INVALID_ARGUMENT, "not a HealthCheckRequest")
            return
        known = self._is_serving(asked)
        if watching:
            self._front.stream_try_send(call, _SERVING if known else _UNKNOWN_SERVICE)
        elif known:
            self._front.respond(call, _SERVING)
        else:
            self._front.fail(call, Status.NOT_FOUND, "unknown service")
