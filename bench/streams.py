"""Five hundred proxies on one control plane: `python -m bench.streams`.

Each has a connection and a delta ADS stream of its own and begins as an Envoy does, with a node of 60 kB. One process
is the server; this one is all the proxies, with HTTP/2 frames written by hand, so that the server is what is measured.
Measured: the memory of an idle stream, the time until one change of 25 kB has reached them all, and how soon they are
settled when the server is killed and all come back at once with what they have.
"""

import argparse
import os
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from typing import Final

from bench.http2_load import ACK, DATA, END_HEADERS, HEADERS, PING, SETTINGS, WINDOW_UPDATE, frame, header_block
from bench.streams_server import GROUP, ROUTES
from protos import discovery_pb2 as pb
from xds.snapshot import CLUSTER, LISTENER, ROUTE

PATH: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
# Field 9, `extensions`: the hundreds of compiled-in extensions that an Envoy lists, which the server has no use for.
NODE_PADDING: Final = b"\x4a\xe0\xd4\x03" + b"x" * 60_000
RST_STREAM, GOAWAY, PADDED, END_STREAM = 3, 7, 8, 1
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WIDE: Final = (1 << 31) - 1
_CALM_SECONDS: Final = 3.0


class Proxy:
    """One node. `received` holds, by type, how many resources have come since it last connected."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.versions: dict[str, dict[str, str]] = {CLUSTER: {}, LISTENER: {}, ROUTE: {}}
        self.seen: dict[str, float] = {}
        self.connections = 0
        self._port = port
        self.connect()

    def connect(self) -> None:
        self.received = dict.fromkeys(self.versions, 0)
        self.connections += 1
        self.socket = socket.create_connection(("127.0.0.1", self._port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bytes, self._data = b"", b""
        wide = struct.pack(">HI", 4, _WIDE)
        hello = _PREFACE + frame(SETTINGS, 0, 0, wide) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", _WIDE - 65_535))
        self.socket.sendall(hello + frame(HEADERS, END_HEADERS, 1, header_block(PATH)))
        first = True
        for type_url, names in ((CLUSTER, ()), (LISTENER, ()), (ROUTE, (ROUTES,))):
            request = pb.DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names)
            request.initial_resource_versions.update(self.versions[type_url])
            raw = request.SerializeToString()
            if first:
                node = pb.Node(id=f"proxy-{self.number}", cluster=GROUP, user_agent_name="envoy").SerializeToString()
                node += NODE_PADDING
                raw += b"\x0a" + _varint(len(node)) + node
            first = False
            self._send(raw)

    def _send(self, raw: bytes) -> None:
        message = b"\0" + struct.pack(">I", len(raw)) + raw
        for start in range(0, len(message), 16_384):
            self.socket.sendall(frame(DATA, 0, 1, message[start : start + 16_384]))

    def read(self) -> bool:
        """Take what has arrived; False once the connection or the stream has ended."""
        try:
            chunk = self.socket.recv(1 << 18)
        except OSError:
            return False
        self._bytes += chunk
        while len(self._bytes) >= 9:
            length = int.from_bytes(self._bytes[:3], "big")
            if len(self._bytes) < 9 + length:
                break
            kind, flags = self._bytes[3], self._bytes[4]
            body = self._bytes[9 : 9 + length]
            self._bytes = self._bytes[9 + length :]
            if kind == DATA:
                self._data += body
            elif kind in {SETTINGS, PING} and not flags & ACK:
                self.socket.sendall(frame(kind, ACK, 0, body if kind == PING else b""))
            elif kind in {RST_STREAM, GOAWAY} or (kind == HEADERS and flags & END_STREAM):
                return False
        self._answer()
        return bool(chunk)

    def _answer(self) -> None:
        while len(self._data) >= 5:
            length = int.from_bytes(self._data[1:5], "big")
            if len(self._data) < 5 + length:
                return
            response = pb.DeltaDiscoveryResponse.FromString(self._data[5 : 5 + length])
            self._data = self._data[5 + length :]
            known = self.versions[response.type_url]
            for resource in response.resources:
                known[resource.name] = resource.version
                self.received[response.type_url] += 1
                self.seen[resource.version] = time.monotonic()
            self._send(
                pb.DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce).SerializeToString()
            )


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes((number & 0x7F | 0x80,)), number >> 7
    return out + bytes((number,))


class Server:
    """The control plane, in a process of its own, steered through its standard input."""

    def __init__(self, port: int, revision: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.streams_server", str(port), str(revision)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask("ready")

    def ask(self, command: str) -> list[str]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def live(self) -> int:
        return int(self.ask("live")[0])


class Fleet:
    """All proxies, read in one loop."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self.proxies = []
        for number in range(count):
            proxy = Proxy(number, port)
            self.proxies.append(proxy)
            self._selector.register(proxy.socket, selectors.EVENT_READ, proxy)

    def turn(self) -> None:
        """Read what is there; whoever was cut off comes back at once."""
        for key, _ in self._selector.select(0.01):
            proxy = key.data
            if not proxy.read():
                self._selector.unregister(proxy.socket)
                proxy.socket.close()
                self._reconnect(proxy)

    def _reconnect(self, proxy: Proxy) -> None:
        while True:
            try:
                proxy.connect()
            except OSError:
                time.sleep(0.005)
            else:
                self._selector.register(proxy.socket, selectors.EVENT_READ, proxy)
                return

    def until(self, condition: object, seconds: float = 60.0) -> float:
        """Seconds until the condition, a callable, is true."""
        assert callable(condition)
        began = time.monotonic()
        asked = began
        while True:
            self.turn()
            now = time.monotonic()
            if now - asked > 0.02:
                asked = now
                if condition():
                    return time.monotonic() - began
            if now - began > seconds:
                raise TimeoutError(f"not within {seconds} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proxies", type=int, default=500)
    parser.add_argument("--changes", type=int, default=20)
    arguments = parser.parse_args()
    count = arguments.proxies
    print(f"set-up: {os.cpu_count()} cores; {count} proxies in one process, delta ADS, one connection each")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Server(port)
    try:
        before = int(server.ask("rss")[0])
        fleet = Fleet(port, count)
        took = fleet.until(lambda: server.live() == count)
        print(f"all connected and settled: {took:.2f} s")
        # What the start needed is given back when it has been calm for a moment.
        began = time.monotonic()
        fleet.until(lambda: time.monotonic() - began > _CALM_SECONDS)
        idle = int(server.ask("rss")[0])
        print(f"memory of an idle stream: {(idle - before) / count / 1000:.0f} kB (goal 100), RSS {idle / 1e6:.0f} MB")
        changes(server, fleet, arguments.changes)
        storm(server, fleet, port, arguments.changes)
    finally:
        server.kill()


def changes(server: Server, fleet: Fleet, number: int) -> None:
    """One change of 25 kB after the other, each from its publication to its last arrival."""
    took: list[float] = []
    slowest = []
    for _ in range(number):
        version, published = server.ask("change")
        fleet.until(lambda version=version: all(version in proxy.seen for proxy in fleet.proxies))
        arrivals = [proxy.seen[version] - float(published) for proxy in fleet.proxies]
        took += arrivals
        slowest.append(max(arrivals))
        fleet.until(lambda: server.live() == len(fleet.proxies))
    ordered = sorted(took)
    p99 = ordered[int(len(ordered) * 0.99)]
    print(
        f"one change of 25 kB published to its arrival, {number} changes: p50 {statistics.median(took) * 1000:.0f} ms, "
        f"p99 {p99 * 1000:.0f} ms (goal 250), the last of all at the median {statistics.median(slowest) * 1000:.0f} ms"
    )


def storm(server: Server, fleet: Fleet, port: int, revision: int) -> None:
    """The server is killed, another takes its place, and everybody comes back with what they have."""
    count = len(fleet.proxies)
    before = sum(proxy.connections for proxy in fleet.proxies)
    server.kill()
    other = Server(port, revision)
    try:
        took = fleet.until(lambda: other.live() == count)
        resent = sum(sum(proxy.received.values()) for proxy in fleet.proxies)
        attempts = sum(proxy.connections for proxy in fleet.proxies) - before
        print(
            f"reconnect storm, nothing changed: settled {took:.2f} s after the new server listened (goal 5), "
            f"{attempts} connections, {resent} resources resent (goal 0)"
        )
    finally:
        other.kill()


if __name__ == "__main__":
    main()
