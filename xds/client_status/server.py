"""The gRPC shell of the client status: `envoy.service.status.v3.ClientStatusDiscoveryService`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import grpc
from prometheus_client import CollectorRegistry

from protos import csds_pb2 as pb
from xds.admission import Pace, ServerLimits
from xds.client_status import wire
from xds.client_status.configs import ClientConfig, client_config
from xds.client_status.matching import Predicate, Unanswerable
from xds.client_status.places import LABEL, Places
from xds.client_status.updates import Updates
from xds.metrics import XdsMetrics
from xds.publisher import Publisher
from xds.snapshot import Snapshot

# An answer is built in memory, beside everything that the proxies wait for.
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024

# gRPC's name for the alternative names of the peer's verified certificate.
_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"
_NO_OPERATOR: Final = "the client certificate is not an operator's"
_TOO_MANY: Final = "as many ask for the client status as may at once; come back later"
_SILENT: Final = "no question came"
_TOO_LARGE: Final = (
    f"the answer has more than {MAX_ANSWER_BYTES >> 20} MiB: ask for fewer nodes by node_matchers, "
    "or set exclude_resource_contents"
)

_Context = grpc.aio.ServicerContext[Any, Any]


def register(
    server: grpc.aio.Server,
    publisher: Publisher,
    trust_domain: str,
    limits: ServerLimits | None = None,
    metrics: XdsMetrics | None = None,
) -> str:
    """Serve the client status on a server that has not started yet; returns its name, for health and reflection.

    With a `trust_domain`, for which the server must demand client certificates, only
    `spiffe://<trust_domain>/operator` gets answers; with "" everybody who can connect does.
    """
    statuses = _Statuses(publisher, trust_domain, limits or ServerLimits(), metrics or XdsMetrics(CollectorRegistry()))
    write = pb.ClientStatusResponse.SerializeToString
    methods = {
        # Read later, so that what cannot be read gets an answer that says so.
        "FetchClientStatus": grpc.unary_unary_rpc_method_handler(
            statuses.fetch, request_deserializer=bytes, response_serializer=write
        ),
        "StreamClientStatus": grpc.stream_stream_rpc_method_handler(
            statuses.stream, request_deserializer=bytes, response_serializer=write
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, methods),))
    return wire.SERVICE


class _Statuses:
    def __init__(self, publisher: Publisher, trust_domain: str, limits: ServerLimits, metrics: XdsMetrics) -> None:
        self._publisher = publisher
        self._trust_domain = trust_domain
        self._limits = limits
        self._metrics = metrics
        self._places = Places(limits, metrics)
        self._building = asyncio.Lock()
        self._updates = Updates()
        publisher.observe(self._note)

    async def fetch(self, raw: bytes, context: _Context) -> pb.ClientStatusResponse:
        await self._admit(context)
        return await self._answer(raw, context)

    async def stream(self, requests: AsyncIterator[bytes], context: _Context) -> None:
        """One answer for each request, of the moment."""
        await self._admit(context)
        pace = Pace(self._limits)
        while True:
            try:
                async with asyncio.timeout(self._limits.status_silence_seconds):
                    raw = await anext(requests, None)
            except TimeoutError:
                self._metrics.other_timed_out(LABEL)
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, _SILENT)
            if raw is None:
                return
            await self._write(await self._answer(raw, context), context)
            await asyncio.sleep(pace.read(len(raw), time.monotonic()))

    async def _write(self, answer: pb.ClientStatusResponse, context: _Context) -> None:
        # No time-out: nothing may be sent after a write that was given up, not even a status.
        timer = asyncio.get_running_loop().call_later(self._limits.write_seconds, self._metrics.other_timed_out, LABEL)
        try:
            await context.write(answer)
        finally:
            timer.cancel()

    def _note(self, group: str, snapshot: Snapshot) -> None:
        self._updates.note(group, snapshot, time.time())

    async def _admit(self, context: _Context) -> None:
        names = context.auth_context().get(_ALTERNATIVE_NAMES, ())
        if self._trust_domain and f"spiffe://{self._trust_domain}/operator".encode() not in names:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, _NO_OPERATOR)
        if not self._places.take():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_MANY)
        # That is when the client has taken the answer, which is in memory as long.
        context.add_done_callback(lambda _: self._places.leave())  # type: ignore[arg-type]  # it takes any callable

    async def _answer(self, raw: bytes, context: _Context) -> pb.ClientStatusResponse:
        question = wire.understand(raw)
        if isinstance(question, Unanswerable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, question.reason)
        asked, contents = question
        # One answer at a time: each may be large.
        async with self._building:
            answer = await self._built(asked, contents=contents)
        if answer is None:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LARGE)
        return answer

    async def _built(self, asked: Predicate, *, contents: bool) -> pb.ClientStatusResponse | None:
        """None if it would be too large."""
        answer = pb.ClientStatusResponse()
        size = 0
        for group in self._publisher.nodes.groups():
            for node_id in filter(asked, self._publisher.nodes.ids(group)):
                # One node at a time, so that proxies do not wait for whoever looks at them.
                await asyncio.sleep(0)
                if (config := self._config(group, node_id)) is None:
                    continue
                size += wire.size(config, contents=contents)
                if size > MAX_ANSWER_BYTES:
                    return None
                wire.write_config(answer, config, contents=contents)
        return answer

    def _config(self, group: str, node_id: str) -> ClientConfig | None:
        """None if the node has gone meanwhile."""
        connections = self._publisher.nodes.connections_of(group, node_id)
        if not connections:
            return None
        wanted = self._publisher.snapshot_for(connections[-1].node)
        rolled_back = self._publisher.rolled_back(group)
        return client_config(connections, wanted, rolled_back, partial(self._updates.at, group))
