"""One xDS stream whose every message the test writes and reads itself; nothing is acknowledged unless it says so.

Silence is not waited for. `heard` asks for something that must be answered: a stream's answers are in order, so what
was said to anything before would have come first. `ends_silently` says the last word and reads to the stream's end.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from protos import discovery_pb2 as pb
from tests.conformance.clients import NODE, TYPE_URLS, Target
from xds import wire
from xds.publisher import Publisher
from xds.snapshot import SHORT_NAMES, Resource, Snapshot

# Long enough for a busy machine; what comes, comes at once.
WITHIN = 20.0
BARRIER = "barrier"
# These are deleted by leaving them out of a response, in state of the world.
FULL_STATE = ("CDS", "LDS", "SRDS")
NAMED = ("RDS", "EDS", "SDS", "RTDS", "ECDS")
DELTA_ONLY = ("VHDS", "LEDS")

SOTW = ("sotw, separate", "sotw, ADS")
DELTA = ("delta, separate", "delta, ADS")
ADS = ("sotw, ADS", "delta, ADS")
ALL = SOTW + DELTA
# Every type that has a service.
TYPES = tuple(SHORT_NAMES.values())


def cells(variants: Iterable[str], types: Iterable[str]) -> pytest.MarkDecorator:
    """Parametrises `variant` and `short`; of the types that are served incrementally only, no other variants."""
    pairs = [(variant, short) for short in types for variant in variants if variant in DELTA or short not in DELTA_ONLY]
    return pytest.mark.parametrize(("variant", "short"), pairs, ids=[f"{short}, {variant}" for variant, short in pairs])


class Served(Target):
    """What the server shall serve, with something to ask for that no test is about."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(publisher)
        self.others: dict[tuple[str, str], Resource] = {}

    def put(self, short: str, *resources: Resource) -> None:
        """Add or replace resources that are more than a name and a body; publish."""
        self.others |= {(short, each.name): each for each in resources}
        self._publish()

    async def knows(self, short: str, *names: str) -> None:
        """Wait until some stream subscribes to these names and no others: nothing answers who lets names go."""

        def subscribed() -> bool:
            streams = [each.stream for each in self.publisher.nodes.connections("edge")]
            found = [each.subscriptions.get(TYPE_URLS[short]) for each in streams]
            wanted = (names_of(names), "*" in names)
            return any(each is not None and (each.names, each.wildcard) == wanted for each in found)

        async with asyncio.timeout(WITHIN):
            while not subscribed():
                await asyncio.sleep(0.005)

    def drop(self, short: str, name: str) -> None:
        del self.others[short, name]
        self._publish()

    def change(self, **types: Mapping[str, str]) -> None:
        """Make these the resources of these types, all in one snapshot."""
        self.types |= {short: dict(members) for short, members in types.items()}
        self._publish()

    async def answered(self) -> None:
        """The server has read an answer to each of its responses."""
        await until(
            lambda: (
                not any(
                    each.in_flight
                    for connection in self.publisher.nodes.connections("edge")
                    for each in connection.stream.subscriptions.values()
                )
            )
        )

    def _publish(self) -> None:
        self.publisher.set_snapshot("edge", self.snapshot())

    def snapshot(self) -> Snapshot:
        plain = {
            (short, name): Resource.of(name, body(name, version))
            for short, members in self.types.items()
            for name, version in members.items()
        }
        barriers = {(short, BARRIER): Resource.of(BARRIER, body(BARRIER, "v1")) for short in NAMED}
        every = {**barriers, **plain, **self.others}
        return Snapshot.of((TYPE_URLS[short], resource) for (short, _), resource in every.items())


def names_of(asked: Iterable[str]) -> set[str]:
    """Without the wildcard."""
    return set(asked) - {"*"}


async def until(condition: Callable[[], bool]) -> None:
    """The server, in this process, has come to that."""
    async with asyncio.timeout(WITHIN):
        while not condition():
            await asyncio.sleep(0.002)


def body(name: str, version: str) -> bytes:
    return f"{name}@{version}".encode()


@dataclass(frozen=True)
class Said:
    """One response. A resource's version is that in its body, and "" where it has none."""

    short: str
    nonce: str
    version: str
    resources: Mapping[str, str]
    removed: tuple[str, ...]
    message: Any


class Talk:
    """`short` is the type that is spoken of unless `of` says another."""

    def __init__(self, channel: grpc.aio.Channel, short: str, *, delta: bool, aggregated: bool) -> None:
        self.short = short
        self.delta = delta
        self.aggregated = aggregated
        self.sent = 0
        self.came = 0
        self.names: dict[str, list[str]] = {}
        self.last: dict[str, Said] = {}
        # Of these types an empty list of names no longer means everything.
        self.explicit: set[str] = set()
        service, methods = wire.AGGREGATED if aggregated else wire.SERVICES[TYPE_URLS[short]]
        self._request = pb.DeltaDiscoveryRequest if delta else pb.DiscoveryRequest
        response = pb.DeltaDiscoveryResponse if delta else pb.DiscoveryResponse
        method = channel.stream_stream(
            f"/{service}/{'Delta' if delta else 'Stream'}{methods}",
            request_serializer=self._request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self.call: Any = method(wait_for_ready=True)
        self._barriers = 0

    async def write(self, **fields: Any) -> None:
        """A request as it is written; the first one names the node and the type."""
        fields.setdefault("type_url", TYPE_URLS[self.short])
        if not self.sent:
            fields.setdefault("node", NODE)
        await self.call.write(self._request(**fields))
        self.sent += 1

    async def subscribe(self, *names: str, of: str = "", **fields: Any) -> None:
        """Add these names; with none on the first request, everything."""
        short = of or self.short
        before = self.names.setdefault(short, [])
        before += [name for name in names if name not in before]
        self.explicit |= {short} if names else set()
        await self._say(short, {"resource_names_subscribe": names}, fields)

    async def unsubscribe(self, *names: str, of: str = "", **fields: Any) -> None:
        short = of or self.short
        self.names[short] = [name for name in self.names[short] if name not in names]
        await self._say(short, {"resource_names_unsubscribe": names}, fields)

    async def ack(self, said: Said, **fields: Any) -> None:
        await self._say(said.short, {}, {"response_nonce": said.nonce, "version_info": said.version} | fields)

    async def nack(self, said: Said, because: str = "refused", **fields: Any) -> None:
        await self.ack(said, error_detail=pb.Status(code=13, message=because), version_info="", **fields)

    async def next(self) -> Said:
        async with asyncio.timeout(WITHIN):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, "the stream has ended"
        return self._said(message)

    def _said(self, message: Any) -> Said:
        self.came += 1
        short = SHORT_NAMES[message.type_url]
        version, removed = (
            (message.system_version_info, tuple(message.removed_resources))
            if self.delta
            else (message.version_info, ())
        )
        said = Said(short, message.nonce, version, self._read(message), removed, message)
        self.last[short] = said
        return said

    async def take(self) -> Said:
        """The next response, acknowledged."""
        said = await self.next()
        await self.ack(said)
        return said

    async def follow(self) -> None:
        """Acknowledge whatever comes, until the stream ends."""
        while (message := await self.call.read()) is not grpc.aio.EOF:
            await self.ack(self._said(message))

    async def collect(self, names: Iterable[str]) -> dict[str, str]:
        """What comes until all of these have come, in one response or in one each."""
        came: dict[str, str] = {}
        missing = set(names)
        while missing:
            said = await self.take()
            came |= said.resources
            missing -= said.resources.keys()
        return came

    async def heard(self) -> None:
        """The server has dealt with all that was written and published, and had nothing to say to it."""
        self._barriers += 1
        if self.delta:
            name = f"{BARRIER}-{self._barriers}"
            await self.subscribe(name)
            said = await self.take()
            unresolved = tuple(each.name for each in said.message.resources if not each.HasField("resource"))
            assert (said.resources, said.removed or unresolved) == ({}, (name,))
        elif self.aggregated:
            beside = "RTDS" if self.short != "RTDS" else "SDS"
            await self.subscribe(BARRIER, of=beside)
            said = await self.take()
            assert (said.short, said.resources) == (beside, {BARRIER: "v1"})
            await self.unsubscribe(BARRIER, of=beside)
        else:
            before = list(self.names[self.short])
            if not before and self.short in FULL_STATE and self.short not in self.explicit:
                before = ["*"]
            self.names[self.short] = [*before, BARRIER]
            await self._say(self.short, {}, {})
            said = await self.next()
            assert self.short in FULL_STATE or said.resources == {BARRIER: "v1"}
            self.names[self.short] = before
            await self.ack(said)

    async def ends_silently(self) -> None:
        """Nothing more is said, although everything is answered before a stream ends; and the client is done."""
        await self.call.done_writing()
        async with asyncio.timeout(WITHIN):
            message = await self.call.read()
        assert message is grpc.aio.EOF, message
        assert self.sent > self.came or not self.sent

    async def refused(self) -> tuple[grpc.StatusCode, str]:
        """How the server ended the stream."""
        try:
            async with asyncio.timeout(WITHIN):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return await self.call.code(), ""

    async def _say(self, short: str, incremental: Mapping[str, Any], fields: dict[str, Any]) -> None:
        fields["type_url"] = TYPE_URLS[short]
        if self.delta:
            fields.pop("version_info", None)
            await self.write(**{**incremental, **fields})
            return
        last = self.last.get(short)
        fields.setdefault("response_nonce", last.nonce if last else "")
        fields.setdefault("version_info", last.version if last else "")
        fields.setdefault("resource_names", self.names.get(short, ()))
        await self.write(**fields)

    def _read(self, message: Any) -> dict[str, str]:
        if self.delta:
            found = {each.name: each.resource.value.decode() for each in message.resources if each.HasField("resource")}
            assert all(text.partition("@")[0] == name for name, text in found.items())
        else:
            bodies = [each.value.decode() for each in message.resources if not each.type_url.endswith("v3.Resource")]
            found = {text.partition("@")[0]: text for text in bodies}
            assert len(found) == len(bodies)
        return {name: text.partition("@")[2] for name, text in found.items()}
