"""The other end of a conversation, without a network."""

import asyncio
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry

from tests.unit.xds.proxies import NODE, TYPE_URLS, show
from xds.admission import ServerLimits
from xds.conversation import Conversation, Ended, Surroundings
from xds.metrics import XdsMetrics
from xds.protocol.delta import Delta
from xds.protocol.messages import DeltaRequest, Node, Response
from xds.protocol.stream import Stream
from xds.publisher import Publisher
from xds.snapshot import Snapshot
from xds.turns import Turns, Weights

CLUSTERS = TYPE_URLS["CDS"]


class Client:
    """The other end: a queue of requests, and a list of what came."""

    def __init__(
        self,
        publisher: Publisher,
        *,
        admit: str = "",
        limit: int | None = None,
        limits: ServerLimits | None = None,
        turns: Turns | None = None,
        age: float | None = None,
        only: str | None = None,
        node: Node = NODE,
    ) -> None:
        self.now = 0.0
        self.node = node
        self.requests: asyncio.Queue[DeltaRequest | None] = asyncio.Queue()
        self.responses: list[Response] = []
        self.supplied: list[tuple[str, ...]] = []
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.registry = CollectorRegistry()
        self.conversation: Conversation[DeltaRequest] = Conversation(
            Stream(Delta(), only=only),
            publisher,
            XdsMetrics(self.registry),
            Surroundings(
                peer="peer",
                admit=lambda _: Ended("PERMISSION_DENIED", admit) if admit else None,
                limit=lambda _: limit,
                clock=lambda: self.now,
                turns=turns or Turns(8),
                weights=Weights(),
                limits=limits or ServerLimits(),
                age=age,
                supply=lambda _, names: self.supplied.append(names),
            ),
        )
        self.task = asyncio.create_task(self.conversation.run(self._requests(), self._write))

    async def _requests(self) -> AsyncIterator[DeltaRequest]:
        while (request := await self.requests.get()) is not None:
            yield request

    async def _write(self, response: Response) -> None:
        await self.blocked.wait()
        self.responses.append(response)

    def send(self, **fields: object) -> None:
        self.requests.put_nowait(DeltaRequest(**{"node": self.node, "type_url": CLUSTERS, **fields}))

    def hang_up(self) -> None:
        self.requests.put_nowait(None)

    async def shown(self, count: int) -> list[str]:
        """What came, once this much has come."""
        async with asyncio.timeout(5):
            while len(self.responses) < count:
                await asyncio.sleep(0)
        return [show(response) for response in self.responses]

    async def until(self, name: str, value: float, **labels: str) -> None:
        """The figure has reached the value."""
        async with asyncio.timeout(5):
            while (self.metric(name, **labels) or 0) < value:
                await asyncio.sleep(0)

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"apibank_xds_{name}", labels)


def published(snapshot: Snapshot) -> Publisher:
    publisher = Publisher()
    publisher.set_snapshot("edge", snapshot)
    return publisher
