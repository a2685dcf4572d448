"""gRPC clients of an xDS server, one for each variant: a dialect, on the aggregated or on separate streams.

A resource's body is "name@version" in plain bytes: the server under test never looks inside.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from protos import discovery_pb2 as pb
from xds import wire
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES, Resource, Snapshot

TYPE_URLS = {short: type_url for type_url, short in SHORT_NAMES.items()}
NODE = pb.Node(id="edge-1", cluster="edge")
AN_ENVOY = pb.Node(id="edge-1", cluster="edge", user_agent_name="envoy")


class Target:
    """The server's state, changed as the scenarios say: each type's resources by name, with a version."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.types: dict[str, dict[str, str]] = {}

    def set(self, short: str, **versions: str) -> None:
        """Add or update resources; publish."""
        self.types.setdefault(short, {}).update(versions)
        self._publish()

    def remove(self, short: str, *names: str) -> None:
        for name in names:
            del self.types[short][name]
        self._publish()

    def _publish(self) -> None:
        resources = [
            (TYPE_URLS[short], Resource.of(name, f"{name}@{version}".encode()))
            for short, members in self.types.items()
            for name, version in members.items()
        ]
        self.publisher.set_snapshot("edge", Snapshot.of(resources))


@dataclass(frozen=True)
class Received:
    """One response: what it brought, by name, and what it took away."""

    short: str
    nonce: str
    version: str
    resources: Mapping[str, str]
    removed: tuple[str, ...] = ()
    identifier: str = ""


class Client:
    """One stream, or one for each type, and what came on any of them, acknowledged as it comes."""

    def __init__(self, channel: grpc.aio.Channel, *, delta: bool, aggregated: bool) -> None:
        self.delta = delta
        self.aggregated = aggregated
        self.received: list[Received] = []
        self.sent = 0
        self._channel = channel
        self._calls: dict[str, Any] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._names: dict[str, list[str]] = {}
        self._arrived = asyncio.Condition()
        self.answered = 0
        # What to answer with: None is an ACK.
        self.error: str | None = None

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        for call in self._calls.values():
            call.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)

    async def subscribe(self, short: str, *names: str) -> None:
        """Add these names; with none, everything."""
        before = self._names.setdefault(short, [])
        before += [name for name in names if name not in before]
        await self._send(short, subscribe=names)

    async def unsubscribe(self, short: str, *names: str) -> None:
        self._names[short] = [name for name in self._names[short] if name not in names]
        await self._send(short, unsubscribe=names)

    async def next(self, short: str) -> Received:
        """The oldest response of this type that no one has asked for yet."""
        async with asyncio.timeout(5), self._arrived:
            while True:
                for index, each in enumerate(self.received):
                    if each.short == short:
                        return self.received.pop(index)
                await self._arrived.wait()

    async def _send(self, short: str, nonce: str = "", version: str = "", **fields: Iterable[str]) -> None:
        call = self._call(short)
        node = NODE if not self.sent or not self.aggregated else None
        error = pb.Status(code=13, message=self.error) if nonce and self.error is not None else None
        common = {"type_url": TYPE_URLS[short], "node": node, "response_nonce": nonce, "error_detail": error}
        if self.delta:
            await call.write(
                pb.DeltaDiscoveryRequest(
                    resource_names_subscribe=fields.get("subscribe", ()),
                    resource_names_unsubscribe=fields.get("unsubscribe", ()),
                    **common,
                )
            )
        else:
            common["response_nonce"] = nonce or self._last.get(short, ("", ""))[0]
            version = version or self._last.get(short, ("", ""))[1]
            await call.write(
                pb.DiscoveryRequest(resource_names=self._names.get(short, ()), version_info=version, **common)
            )
        self.sent += 1

    @property
    def _last(self) -> dict[str, tuple[str, str]]:
        return self.__dict__.setdefault("_last_of", {})

    def _call(self, short: str) -> Any:
        key = "" if self.aggregated else short
        if key not in self._calls:
            service, methods = wire.AGGREGATED if self.aggregated else wire.SERVICES[TYPE_URLS[short]]
            request, response = (
                (pb.DeltaDiscoveryRequest, pb.DeltaDiscoveryResponse)
                if self.delta
                else (pb.DiscoveryRequest, pb.DiscoveryResponse)
            )
            method = self._channel.stream_stream(
                f"/{service}/{'Delta' if self.delta else 'Stream'}{methods}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )
            self._calls[key] = method(wait_for_ready=True)
            self._readers[key] = asyncio.create_task(self._read(self._calls[key]))
        return self._calls[key]

    async def _read(self, call: Any) -> None:
        while (message := await call.read()) is not grpc.aio.EOF:
            short = SHORT_NAMES[message.type_url]
            if self.delta:
                resources = dict(each.resource.value.decode().split("@") for each in message.resources)
                assert list(resources) == [each.name for each in message.resources]
                version, removed = message.system_version_info, tuple(message.removed_resources)
            else:
                resources = dict(each.value.decode().split("@") for each in message.resources)
                assert len(resources) == len(message.resources)
                version, removed = message.version_info, ()
                self._last[short] = (message.nonce, version)
            self.answered += 1
            await self._send(short, nonce=message.nonce, version=version)
            async with self._arrived:
                self.received.append(
                    Received(short, message.nonce, version, resources, removed, message.control_plane.identifier)
                )
                self._arrived.notify_all()
