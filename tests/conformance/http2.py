"""Clients that no gRPC library would be: HTTP/2 by hand (RFC 9113), with a window that may never open."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from typing import Any

from xds import wire

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW = 3, 4
_LARGEST_FRAME = 16_384
_SEVEN_BITS = 0x7F
# The method of a delta ADS stream.
_ADS = f"/{wire.AGGREGATED[0]}/Delta{wire.AGGREGATED[1]}"


class Rude:
    """One connection. `ended` are the streams that the server has ended, `seen` counts frames by kind."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.most_streams = 0
        self.seen: Counter[int] = Counter()
        self.received = 0
        self.ended: set[int] = set()
        self._task = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, port: int, *, window: int = 65_535) -> Rude:
        """`window` is how many bytes it takes on each stream, and never more."""
        rude = cls(*await asyncio.open_connection("127.0.0.1", port))
        rude.write(_PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW, window)))
        return rude

    @property
    def closed(self) -> bool:
        """By the server."""
        return self._task.done()

    async def close(self) -> None:
        self._task.cancel()
        self._writer.close()
        await asyncio.gather(self._task, return_exceptions=True)

    def stop_reading(self) -> None:
        """The server's answers stay in buffers from now on."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Vanish: reset the connection (RFC 9293 §3.5.3)."""
        linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    def write(self, raw: bytes) -> None:
        self._writer.write(raw)

    def open(self, stream: int, path: str = _ADS, **headers: str) -> None:
        """A call of this method; the number is odd, and larger than all before."""
        self.write(frame(HEADERS, END_HEADERS, stream, _header_block(path, headers)))

    def send(self, stream: int, request: Any, *, compressed: bool = False, last: bool = False) -> None:
        raw = request if isinstance(request, bytes) else request.SerializeToString()
        message = bytes((compressed,)) + struct.pack(">I", len(raw)) + raw
        for start in range(0, len(message), _LARGEST_FRAME):
            self.write(frame(DATA, 0, stream, message[start : start + _LARGEST_FRAME]))
        if last:
            self.write(frame(DATA, END_STREAM, stream, b""))

    def open_window(self, stream: int) -> None:
        wide = struct.pack(">I", 1 << 30)
        self.write(frame(WINDOW_UPDATE, 0, 0, wide) + frame(WINDOW_UPDATE, 0, stream, wide))

    async def until(self, done: Any) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)

    async def _read(self) -> None:
        while True:
            head = await self._reader.readexactly(9)
            body = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            self.seen[kind] += 1
            if kind == SETTINGS and not flags & ACK:
                pairs = dict(struct.iter_unpack(">HI", body))
                self.most_streams = pairs.get(_MAX_CONCURRENT_STREAMS, self.most_streams)
            if kind in {SETTINGS, PING} and not flags & ACK:
                self.write(frame(kind, ACK, 0, body if kind == PING else b""))
            if kind == DATA:
                self.received += len(body)
            if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self.ended.add(stream)


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body


def _header_block(path: str, more: Mapping[str, str]) -> bytes:
    """Literals without indexing (RFC 7541 §6.2.2), so that nobody has to keep a table."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "127.0.0.1",
        "te": "trailers",
        "content-type": "application/grpc",
        **more,
    }
    return b"".join(b"\x10" + _string(name) + _string(value) for name, value in fields.items())


def _string(text: str) -> bytes:
    """RFC 7541 §5.2: the length as an integer of 7 bits and more (§5.1), then the bytes as they are."""
    raw = text.encode()
    if len(raw) < _SEVEN_BITS:
        return bytes((len(raw),)) + raw
    length, rest = b"\x7f", len(raw) - _SEVEN_BITS
    while rest > _SEVEN_BITS:
        length += bytes((rest & _SEVEN_BITS | 0x80,))
        rest >>= 7
    return length + bytes((rest,)) + raw
