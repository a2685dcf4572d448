"""The gRPC shell of the client status: `envoy.service.status.v3.ClientStatusDiscoveryService`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from protos import csds_pb2 as pb
from xds.client_status import wire
from xds.client_status.configs import ClientConfig, client_config
from xds.client_status.matching import Unanswerable, matching
from xds.client_status.updates import Updates
from xds.publisher import Publisher
from xds.snapshot import Snapshot

# An answer is built in memory, beside everything that the proxies wait for.
MAX_CONTENTS_BYTES: Final = 64 * 1024 * 1024

# gRPC's name for the alternative names of the peer's verified certificate.
_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"
_NO_OPERATOR: Final = "the client certificate is not an operator's"
_UNREADABLE: Final = "that is no request for a client status"
_TOO_LARGE: Final = (
    f"the resources are more than {MAX_CONTENTS_BYTES >> 20} MiB: ask for fewer nodes by node_matchers, "
    "or set exclude_resource_contents"
)

_Context = grpc.aio.ServicerContext[Any, Any]


def register(server: grpc.aio.Server, publisher: Publisher, trust_domain: str) -> str:
    """Serve the client status on a server that has not started yet; returns its name, for health and reflection.

    With a `trust_domain`, for which the server must demand client certificates, only
    `spiffe://<trust_domain>/operator` gets answers; with "" everybody who can connect does.
    """
    statuses = _Statuses(publisher, trust_domain)
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
    def __init__(self, publisher: Publisher, trust_domain: str) -> None:
        self._publisher = publisher
        self._trust_domain = trust_domain
        self._updates = Updates()
        publisher.observe(self._note)

    async def fetch(self, raw: bytes, context: _Context) -> pb.ClientStatusResponse:
        await self._admit(context)
        return await self._answer(raw, context)

    async def stream(self, requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[pb.ClientStatusResponse]:
        """One answer for each request, of the moment."""
        await self._admit(context)
        async for raw in requests:
            yield await self._answer(raw, context)

    def _note(self, group: str, snapshot: Snapshot) -> None:
        self._updates.note(group, snapshot, time.time())

    async def _admit(self, context: _Context) -> None:
        names = context.auth_context().get(_ALTERNATIVE_NAMES, ())
        if self._trust_domain and f"spiffe://{self._trust_domain}/operator".encode() not in names:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, _NO_OPERATOR)

    async def _answer(self, raw: bytes, context: _Context) -> pb.ClientStatusResponse:
        try:
            question = wire.read_question(raw)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)
        if isinstance(question, Unanswerable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, question.reason)
        asked = matching(question.patterns)
        if isinstance(asked, Unanswerable):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, asked.reason)
        answer = pb.ClientStatusResponse()
        size = 0
        for group in self._publisher.nodes.groups():
            for node_id in filter(asked, self._publisher.nodes.ids(group)):
                # One node at a time, so that proxies do not wait for whoever looks at them.
                await asyncio.sleep(0)
                if (config := self._config(group, node_id)) is None:
                    continue
                size += wire.size(config) if question.contents else 0
                if size > MAX_CONTENTS_BYTES:
                    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LARGE)
                wire.write_config(answer, config, contents=question.contents)
        return answer

    def _config(self, group: str, node_id: str) -> ClientConfig | None:
        """None if the node has gone meanwhile."""
        connections = self._publisher.nodes.connections_of(group, node_id)
        if not connections:
            return None
        wanted = self._publisher.snapshot_for(connections[-1].node)
        rolled_back = self._publisher.rolled_back(group)
        return client_config(connections, wanted, rolled_back, partial(self._updates.at, group))
