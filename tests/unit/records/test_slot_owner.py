"""Whom a cluster's node names for a slot."""

import pytest
from redis.asyncio.connection import AbstractConnection

from records.redis_link import Links, SlotOwner
from records.store_address import Node, parse_store_url


class Answering(AbstractConnection):
    """A connection whose server has one answer; needed as no server here is made to leave its host out."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def __del__(self, *_: object) -> None:
        pass

    def pack_command(self, *_: object) -> list[bytes]:
        return []

    async def send_packed_command(self, *_: object, **__: object) -> None:
        pass

    async def read_response(self, *_: object, **__: object) -> object:
        return self._answer

    async def disconnect(self, *_: object, **__: object) -> None:
        pass

    async def _connect(self) -> None:
        pass

    def _host_error(self) -> str:
        return ""

    def repr_pieces(self) -> list[tuple[str, object]]:
        return []


class Noted(Links):
    def __init__(self, answer: object) -> None:
        super().__init__(parse_store_url("redis+cluster://asked:7000"), 1.0)
        self._answer = answer
        self.opened: list[Node] = []

    async def open(self, node: Node) -> AbstractConnection:
        self.opened.append(node)
        return Answering(self._answer)


@pytest.mark.parametrize(("host", "expected"), [(b"other", "other"), (b"", "asked"), (None, "asked")])
async def test_a_node_that_does_not_tell_its_host_is_the_one_that_was_asked(host: bytes | None, expected: str) -> None:
    links = Noted([[0, 16383, [host, 7001, b"id"]]])
    await SlotOwner(links, 5).connect()
    assert links.opened == [Node("asked", 7000), Node(expected, 7001)]
