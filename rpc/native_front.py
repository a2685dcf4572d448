"""A method on pygrpc-native's batches: HTTP/2 in Rust threads, and calls handed over as many as are waiting.

What needs no waiting is answered one after the other, without a task; the others of a batch wait together.
"""

import asyncio
import os
import threading
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Final, Generic

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from rpc.calls import LEAVING, UNKNOWN_HEALTH, UNREADABLE_HEALTH, begin, broken, settle
from rpc.service import Failure, Method, WaitingT

_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING).SerializeToString()
_UNKNOWN_SERVICE: Final = health_pb2.HealthCheckResponse(
    status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
).SerializeToString()
# Seconds from an answer's leaving Rust's hands to its being in the socket, which nothing tells of; and the most that
# callers are waited for who read slowly.
_LINGER: Final = 0.02
_SLOWEST: Final = 0.5
_METHOD: Final = 0
_WATCH: Final = 2

# (kind, call, method, payload, client key), as NativeGrpcFront hands them over.
_Event = tuple[int, int, int, bytes | None, bytes | str | None]


class NativeFront(Generic[WaitingT]):
    """A server for one method, with health checks, on `listen`; RuntimeError if that is taken."""

    def __init__(self, method: Method[WaitingT], listen: str) -> None:
        self._method = method
        self._path = f"/{method.service_name}/{method.name}"
        paths = [(self._path, False), (f"/{_HEALTH}/Check", False), (f"/{_HEALTH}/Watch", True)]
        try:
            # Only with the details of calls is one told of those that were given up, and only with metrics of those
            # that are not over.
            self._front = NativeGrpcFront(
                listen,
                paths,
                client_key_metadata=None if method.told is None else method.told.name,
                call_details=True,
                metrics=True,
            )
        except OSError as error:
            # Its own text names the address too, and the number twice.
            why = os.strerror(error.errno) if error.errno else str(error)
            raise RuntimeError(f"cannot listen on {listen}: {why}") from error
        self._waiting: dict[int, WaitingT] = {}
        # Callers that have left and whose leaving the loop has not come to yet; the receiving thread adds to it.
        self._left: set[int] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._stopping = False

    @property
    def port(self) -> int:
        return self._front.bound_port

    def start(self) -> None:
        """Answer on the running event loop."""
        loop = asyncio.get_running_loop()
        self._front.start()
        threading.Thread(target=self._receive, args=(loop,), name=self._method.name, daemon=True).start()

    async def stop(self, grace: float) -> None:
        """Take no more calls, give those under way `grace` seconds, and close. What is not answered then fails."""
        self._stopping = True
        if self._settling:
            await asyncio.wait(self._settling, timeout=grace)
        late = list(self._settling)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        # Closing drops answers that are still on their way.
        with suppress(TimeoutError):
            async with asyncio.timeout(_SLOWEST):
                while self._under_way():  # noqa: ASYNC110 Rust tells nobody
                    await asyncio.sleep(_LINGER / 4)
        await asyncio.sleep(_LINGER)
        await asyncio.to_thread(self._front.close)

    def _under_way(self) -> int:
        """Calls that were begun by their callers and have not ended for them."""
        of_method = (self._front.metrics() or {})["methods"][self._path]
        ended = sum(int(each["count"]) for each in of_method["status"].values())
        return int(of_method["started"]) - ended

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        while (events := self._front.recv_batch(self._method.at_once)) is not None:
            # The loop may be behind; whoever left meanwhile must not keep it from those who have not.
            self._left.update([call for kind, call, *_ in events if kind != EVENT_CALL])
            try:
                loop.call_soon_threadsafe(self._take, events, self._method.counter())
            except RuntimeError:
                # The loop was closed without stop().
                self._front.close()
                return

    def _take(self, events: Sequence[_Event], started: float) -> None:
        method, respond = self._method, self._front.respond
        groups: dict[Hashable, list[tuple[int, WaitingT]]] = {}
        for kind, call, number, payload, said in events:
            if kind != EVENT_CALL:
                self._give_up(call)
            elif call in self._left:
                # Nobody waits for the answer, and nothing was done that would have to be undone.
                continue
            elif self._stopping:
                self._fail(call, LEAVING)
            elif number != _METHOD:
                self._tell_health(call, payload or b"", watching=number == _WATCH)
            else:
                answer = begin(method, payload or b"", started)
                if isinstance(answer, bytes):
                    respond(call, answer)
                elif isinstance(answer, Failure):
                    self._fail(call, answer)
                else:
                    # Of a caller that says nothing, it is its address, a str.
                    if method.told is not None and isinstance(said, bytes):
                        method.told.tell(answer, said)
                    self._waiting[call] = answer
                    groups.setdefault(answer.awaited, []).append((call, answer))
        for group in groups.values():
            task = asyncio.create_task(self._settle(group))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    def _give_up(self, call: int) -> None:
        """The caller left, or its deadline passed. What had no need to wait has been answered."""
        self._left.discard(call)
        waiting = self._waiting.get(call)
        if waiting is not None:
            waiting.given_up = True

    async def _settle(self, group: Sequence[tuple[int, WaitingT]]) -> None:
        ends: Sequence[bytes | Failure] = [LEAVING] * len(group)
        try:
            ends = await settle(self._method, [waiting for _, waiting in group])
        finally:
            # Also where this was cancelled: whoever asked is told.
            for (call, _), end in zip(group, ends, strict=True):
                del self._waiting[call]
                if isinstance(end, bytes):
                    self._front.respond(call, end)
                else:
                    self._fail(call, end)

    def _fail(self, call: int, failure: Failure) -> None:
        self._front.fail(call, failure.status, failure.message)

    def _tell_health(self, call: int, payload: bytes, watching: bool) -> None:
        """gRPC Health Checking Protocol: who watches keeps the stream and hears of changes, of which there are none."""
        try:
            known = self._method.is_serving(health_pb2.HealthCheckRequest.FromString(payload).service)
        except DecodeError:
            self._fail(call, UNREADABLE_HEALTH)
            return
        except Exception as error:  # noqa: BLE001 one call's fault is no other's
            self._fail(call, broken(self._method, error))
            return
        if watching:
            self._front.stream_try_send(call, _SERVING if known else _UNKNOWN_SERVICE)
        elif known:
            self._front.respond(call, _SERVING)
        else:
            self._fail(call, UNKNOWN_HEALTH)
