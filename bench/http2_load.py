"""Load on a gRPC server over HTTP/2 with frames written by hand.

An ordinary gRPC client in Python costs more than the server that it measures. Header blocks need no state here
(RFC 7541 §6.2.2), and of what comes back only the stream, its first octet and its end are looked at.
"""

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence

HEADERS, DATA, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE = 1, 0, 3, 4, 6, 8
# Servers refuse more streams at once than they have said, and close the connection of who goes on.
_MOST_UNDER_WAY = 500
END_STREAM, ACK, END_HEADERS = 1, 1, 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WIDE = (1 << 31) - 1


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + body


def header_block(path: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "127.0.0.1",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(
        b"\x10" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()
        for name, value in fields.items()
    )


class Client:
    """One connection that calls `path` with each of the messages in turn.

    `latencies`: seconds per answered call. `good`: calls whose answer `is_good` says yes to, given the message.
    """

    def __init__(self, port: int, path: str, messages: Sequence[bytes], is_good: Callable[[bytes], bool]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.latencies: list[float] = []
        self.good = 0
        self._headers = header_block(path)
        self._bodies = [b"\0" + struct.pack(">I", len(raw)) + raw for raw in messages]
        self._is_good = is_good
        self._stream, self._received = -1, b""
        self._sent: dict[int, float] = {}
        self.socket.sendall(_PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, _WIDE)))
        self.socket.sendall(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDE - 65_535)))

    def run(self, seconds: float, under_way: int) -> None:
        """Keep that many calls under way for so long."""
        end = time.perf_counter() + seconds
        self._ask(under_way)
        while time.perf_counter() < end:
            answers = self._take()
            if answers:
                self._ask(answers)
        self._drain()

    def run_paced(self, seconds: float, rate: float) -> None:
        """Begin `rate` calls a second, whether or not earlier ones have been answered; fewer once very many wait."""
        start, asked = time.perf_counter(), 0
        while (passed := time.perf_counter() - start) < seconds:
            due = min(int(passed * rate) - asked, _MOST_UNDER_WAY - len(self._sent))
            if due > 0:
                self._ask(due)
                asked += due
            while select.select([self.socket], [], [], max(0.0, (asked + 1) / rate - (time.perf_counter() - start)))[0]:
                self._take()
        self._drain()

    def _drain(self) -> None:
        while self._sent:
            self._take()
        self.socket.close()

    def _ask(self, count: int) -> None:
        now, frames = time.perf_counter(), []
        for _ in range(count):
            self._stream += 2
            frames.append(frame(HEADERS, END_HEADERS, self._stream, self._headers))
            frames.append(frame(DATA, END_STREAM, self._stream, self._bodies[self._stream // 2 % len(self._bodies)]))
            self._sent[self._stream] = now
        self.socket.sendall(b"".join(frames))

    def _take(self) -> int:
        """Read what has come; the number of calls that ended in it."""
        received = self.socket.recv(1 << 18)
        if not received:
            raise SystemExit(f"the server closed the connection with {len(self._sent)} calls under way")
        self._received += received
        data, at, ended, now = self._received, 0, 0, time.perf_counter()
        while len(data) - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if len(data) - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            if kind == DATA and length > 5:
                # After the five octets of gRPC's prefix.
                self.good += self._is_good(data[at + 14 : at + 9 + length])
            elif kind == HEADERS and flags & END_STREAM:
                ended += 1
                self.latencies.append(now - self._sent.pop(stream))
            elif kind == RST_STREAM:
                raise SystemExit(f"the server reset a call with {len(self._sent)} under way")
            elif kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == PING and not flags & ACK:
                self.socket.sendall(frame(PING, ACK, 0, data[at + 9 : at + 9 + length]))
            at += 9 + length
        self._received = data[at:]
        return ended


def in_turn(first: Client, second: Client, seconds: float, under_way: int) -> None:
    """Call the second once for each call of the first that was answered, with that many of such pairs under way."""
    end = time.perf_counter() + seconds
    sockets = {first.socket: (first, second), second.socket: (second, first)}
    first._ask(under_way)
    while first._sent or second._sent:
        for ready in select.select(list(sockets), [], [])[0]:
            asked, follower = sockets[ready]
            ended = asked._take()
            if ended and (follower is second or time.perf_counter() < end):
                follower._ask(ended)
    first.socket.close()
    second.socket.close()
