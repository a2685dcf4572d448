"""Clients that abuse HTTP/2 itself: floods of frames, streams and headers, slow bytes and requests that swell."""

import asyncio
import gzip
import struct
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.conformance.http2 import DATA, END_HEADERS, HEADERS, PING, RST_STREAM, SETTINGS, Rude, frame
from tests.conformance.planes import first, plane
from xds.server import MAX_REQUEST_BYTES

CANCEL, CONTINUATION = struct.pack(">I", 8), 9
MIB = 1024 * 1024


def resident() -> int:
    """This process's memory, in MiB, with the server in it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 // MIB


@pytest.mark.parametrize(
    "flood",
    [frame(PING, 0, 0, b"12345678"), frame(SETTINGS, 0, 0, b""), frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1))],
    ids=["pings", "empty settings", "settings"],
)
@pytest.mark.parametrize("reading", [True, False], ids=["reading", "not reading"])
async def test_frames_that_want_an_answer_each_hold_up_nobody_and_do_not_pile_up(flood: bytes, reading: bool) -> None:
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        if not reading:
            rude.stop_reading()
        before = resident()
        for _ in range(20):
            rude.write(flood * 5_000)
            await it.brings_a_change()
        assert resident() - before < 64
        await rude.close()


async def test_streams_that_are_reset_as_soon_as_they_are_opened_leave_nothing_behind() -> None:
    """CVE-2023-44487."""
    async with plane(max_connections=20, max_silent_streams=20) as it:
        rude = await Rude.connect(it.running.port)
        for number in range(10_000):
            rude.open(2 * number + 1)
            rude.write(frame(RST_STREAM, 0, 2 * number + 1, CANCEL))
            if number % 1_000 == 0:
                await it.brings_a_change()
        rude.open(30_001)
        rude.send(30_001, first())
        await it.brings_a_change()
        # Every place is free again.
        again = [it.open() for _ in range(19)]
        for call in again:
            await call.write(first())
            async with asyncio.timeout(10):
                assert await call.read() is not grpc.aio.EOF
        for call in again:
            call.cancel()
        await rude.close()


async def test_headers_without_end_close_the_connection() -> None:
    """CVE-2024-27316."""
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        before = resident()
        rude.write(frame(HEADERS, 0, 1, b""))
        # One header of 16,000 bytes, literal and never indexed, again and again.
        more = frame(CONTINUATION, 0, 1, b"\x10\x01x\x7f\x81\x7c" + b"y" * 16_000)
        for _ in range(2_000):
            rude.write(more)
            await asyncio.sleep(0)
            if rude.closed:
                break
        await rude.until(lambda: rude.closed or 1 in rude.ended)
        await it.brings_a_change()
        assert resident() - before < 64
        await rude.close()


async def test_metadata_that_nobody_needs_end_their_call_and_no_other() -> None:
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        rude.open(1, **{f"x-{number}": "v" * 1_000 for number in range(14)})
        rude.open(3, **{"x-large": "v" * 15_000, "y-large": "v" * 15_000, "z-large": "v" * 15_000})
        await rude.until(lambda: 3 in rude.ended or rude.closed)
        await it.brings_a_change()
        await rude.close()


async def test_a_request_that_swells_when_it_is_unpacked_is_not_unpacked_beyond_what_is_read() -> None:
    packed = gzip.compress(b"\0" * (5 * MAX_REQUEST_BYTES), 1)
    assert len(packed) < MIB
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        rude.open(1, **{"grpc-encoding": "gzip"})
        before = resident()
        rude.send(1, packed, compressed=True)
        await rude.until(lambda: 1 in rude.ended)
        assert resident() - before < 3 * MAX_REQUEST_BYTES // MIB
        await it.brings_a_change()
        await rude.close()


async def test_a_request_may_be_compressed() -> None:
    async with plane() as it:
        rude = await Rude.connect(it.running.port)
        rude.open(1, **{"grpc-encoding": "gzip"})
        rude.send(1, gzip.compress(first().SerializeToString()), compressed=True)
        await it.until(lambda: it.metric("streams", group="edge", dialect="delta") == 2)
        await rude.close()


async def test_a_request_that_comes_byte_by_byte_is_waited_for_as_long_as_for_one_that_does_not_come() -> None:
    async with plane(first_request_seconds=0.3) as it:
        raw = first().SerializeToString()
        message = b"\0" + struct.pack(">I", len(raw)) + raw
        rude = await Rude.connect(it.running.port)
        for stream in (1, 3, 5):
            rude.open(stream)

        async def drip() -> None:
            for byte in message[:-1]:
                for stream in (1, 3, 5):
                    rude.write(frame(DATA, 0, stream, bytes((byte,))))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        await rude.until(lambda: rude.ended >= {1, 3, 5})
        assert it.metric("silent_streams_total") == 3
        await it.brings_a_change()
        dripping.cancel()
        await rude.close()


async def test_connections_that_say_nothing_keep_nobody_away() -> None:
    async with plane(max_connections=20) as it:
        silent = [await asyncio.open_connection("127.0.0.1", it.running.port) for _ in range(200)]
        await it.brings_a_change()
        call = it.open()
        await call.write(first())
        assert await call.read() is not grpc.aio.EOF
        call.cancel()
        for _, writer in silent:
            writer.close()


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\nhost: control-plane\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(DATA, 0, 1, b"no stream is open"),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(HEADERS, END_HEADERS, 1, b"\xff" * 100),
        b"\0" * 100_000,
    ],
    ids=["HTTP/1.1", "TLS", "data first", "no headers", "zeros"],
)
async def test_what_is_no_grpc_is_told_so_or_cut_off(nonsense: bytes) -> None:
    async with plane() as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.running.port)
        writer.write(nonsense)
        await it.brings_a_change()
        writer.close()
        del reader


async def test_a_connection_that_vanishes_in_the_midst_of_a_request_leaves_no_stream() -> None:
    async with plane() as it:
        for _ in range(20):
            rude: Any = await Rude.connect(it.running.port)
            rude.open(1)
            rude.send(1, first())
            rude.write(frame(DATA, 0, 1, b"\0\0\0\xff\xff half of"))
            await it.until(lambda: it.metric("streams", group="edge", dialect="delta") == 2)
            rude.abort()
            await it.until(lambda: it.metric("streams", group="edge", dialect="delta") == 1)
            await rude.close()
        await it.brings_a_change()
