"""What goes to many streams is encoded once."""

from dataclasses import replace
from typing import Any

import pytest

from protos import discovery_pb2 as pb
from xds import wire
from xds.encoding import SharedEncoding
from xds.protocol.messages import Response
from xds.snapshot import CLUSTER, Resource

DIALECTS = pytest.mark.parametrize(
    ("write", "message"),
    [(wire.write_sotw, pb.DiscoveryResponse), (wire.write_delta, pb.DeltaDiscoveryResponse)],
    ids=["sotw", "delta"],
)


class Counting:
    def __init__(self, write: Any = wire.write_delta) -> None:
        self.calls = 0
        self._write = write

    def __call__(self, response: Response, identifier: str) -> bytes:
        self.calls += 1
        return bytes(self._write(response, identifier))


def response(nonce: str = "1", body: bytes = b"x" * 1000, **fields: Any) -> Response:
    return Response(CLUSTER, nonce, "v", (Resource.of("a", body),), **fields)


@DIALECTS
def test_it_says_the_same_as_encoding_each_response(write: Any, message: Any) -> None:
    encode = SharedEncoding(write, "replica")
    shared = response()
    for nonce in ("1", "2", "17", "n" * 127, "n" * 128):
        each = replace(shared, nonce=nonce)
        assert message.FromString(encode(each)) == message.FromString(write(each, "replica"))


def test_responses_that_differ_in_their_nonce_are_encoded_once() -> None:
    write, shared = Counting(), response()
    encode = SharedEncoding(write, "replica")
    for nonce in range(100):
        encode(replace(shared, nonce=str(nonce)))
    assert write.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        {"version": "w"},
        {"removed": ("b",)},
        {"unresolved": ("b",)},
        {"bare": True},
        {"wrapped": True},
        {"heartbeat": True},
        {"resources": (Resource.of("a", b"y" * 1000),)},
        {"resources": ()},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_responses_that_differ_in_anything_else_are_not_mixed_up(other: dict[str, Any]) -> None:
    encode, shared = SharedEncoding(wire.write_delta, "replica"), response()
    encode(shared)
    different = replace(shared, **other)
    parse = pb.DeltaDiscoveryResponse.FromString
    assert parse(encode(different)) == parse(wire.write_delta(different, "replica"))


def test_it_keeps_only_so_much() -> None:
    write = Counting()
    encode = SharedEncoding(write, "replica", capacity=10_000)
    responses = [response(body=bytes([number]) * 3000) for number in range(5)]
    for each in (*responses, responses[-1], responses[0]):
        encode(each)
    assert write.calls == 6
    assert encode._used <= 10_000


def test_what_would_fill_it_alone_is_not_kept() -> None:
    write = Counting()
    encode, large = SharedEncoding(write, "replica", capacity=10_000), response(body=b"x" * 9_000)
    encode(large)
    encode(large)
    assert write.calls == 2
