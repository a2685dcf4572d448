"""Octets that are no calls: whoever sends them gets no answer, and everybody else does.

Of the native server alone: grpcio leaves some of them waiting for ever, which is its own affair.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence

import h2.config
import h2.connection
import h2.events
import pytest

from tests.contract.rpc.toy import PATH, Served, serving

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "127.0.0.1"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving("native") as one:
        yield one


def sent(port: int, headers: Sequence[tuple[str, str]], body: bytes) -> dict[str, str]:
    """The last headers of what is answered to a call of these octets; empty where the stream or connection is cut."""
    ended: dict[str, str] = {}
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        state = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        state.initiate_connection()
        state.send_headers(1, headers)
        state.send_data(1, body, end_stream=True)
        connection.sendall(state.data_to_send())
        while octets := connection.recv(65_536):
            for event in state.receive_data(octets):
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    ended |= {_text(name): _text(value) for name, value in event.headers}
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return ended
            connection.sendall(state.data_to_send())
    return ended


def _text(octets: bytes | str) -> str:
    return octets if isinstance(octets, str) else octets.decode()


def framed(message: bytes, length: int | None = None, flag: int = 0) -> bytes:
    """gRPC's length-prefixed message."""
    return bytes((flag,)) + (len(message) if length is None else length).to_bytes(4, "big") + message


async def asked(served: Served, body: bytes, headers: Sequence[tuple[str, str]] = HEADERS) -> str | None:
    return (await asyncio.to_thread(sent, served.running.port, headers, body)).get("grpc-status")


async def test_a_well_formed_call_by_hand_is_answered(served: Served) -> None:
    assert await asked(served, framed(b"say w")) == "0"


@pytest.mark.parametrize(
    "body",
    [
        framed(b"say w", length=100),
        framed(b"say w", length=2**32 - 1),
        framed(b"say w")[:3],
        framed(b"say w", flag=1),
        framed(b"say w", flag=255),
        b"",
        b"\xff" * 100,
    ],
    ids=["short", "boundless", "no length", "compressed", "odd flag", "nothing", "noise"],
)
async def test_a_malformed_frame_is_no_call_and_hurts_no_other(served: Served, body: bytes) -> None:
    assert await asked(served, body) != "0"
    assert await served.say("say", "w") == b"w"


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff"]
)
async def test_what_is_not_http2_is_not_spoken_to(served: Served, octets: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.running.port), timeout=10) as connection:
        connection.sendall(octets)
        assert await served.say("say", "w") == b"w"


async def test_who_leaves_in_the_middle_of_a_call_hurts_no_other(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.running.port), timeout=10) as connection:
        state = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        state.initiate_connection()
        state.send_headers(1, HEADERS)
        state.send_data(1, framed(b"wait gate w"), end_stream=True)
        connection.sendall(state.data_to_send())
        await served.toy.holds(1)
    served.toy.gate("gate").set()
    assert await served.say("say", "w") == b"w"
