"""Requests octet by octet, over TLS: what no proper client would send, and how it is answered."""

import http.client
import json
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `headers` have small names; several of one name are joined."""

    status_code: int
    headers: dict[str, str]
    content: bytes = b""

    @property
    def text(self) -> str:
        return self.content.decode("utf-8", "replace")

    def json(self) -> dict[str, object]:
        body: dict[str, object] = json.loads(self.content)
        return body


@dataclass(frozen=True, slots=True)
class Door:
    """Where to connect: `url` as in the ready file; `address` is the loopback address to call from."""

    url: str
    ca_file: str
    address: str = "127.0.0.1"
    name: str = "127.0.0.1"
    certificate: tuple[str, str] | None = field(default=None)

    def plain(self) -> socket.socket:
        """A TCP connection."""
        port = urlsplit(self.url).port
        assert port is not None
        return socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(self.address, 0))

    def connect(self, protocol: str = "http/1.1", *, first: bytes = b"") -> ssl.SSLSocket:
        """A TLS connection that speaks `protocol`; `first` goes ahead of the handshake."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.check_hostname = False
        context.set_alpn_protocols([protocol])
        if self.certificate is not None:
            context.load_cert_chain(*self.certificate)
        plain = self.plain()
        try:
            plain.sendall(first)
            return context.wrap_socket(plain, server_hostname=self.name)
        except BaseException:
            plain.close()
            raise


def send(door: Door, request: bytes) -> Answer:
    """The first answer to some octets of HTTP/1.1. Raises ConnectionError where there is none."""
    with door.connect() as connection:
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            return Answer(answer.status, _joined(answer.getheaders()), answer.read())
        except http.client.RemoteDisconnected as error:
            raise ConnectionError("no answer") from error


def everything(door: Door, *parts: bytes, silence: float = 0.3) -> bytes:
    """All that comes back until the connection is closed, or silent for a while after each part."""
    received = b""
    with door.connect() as connection:
        connection.settimeout(silence)
        for part in parts:
            try:
                connection.sendall(part)
                while some := connection.recv(65_536):
                    received += some
            except (TimeoutError, OSError):
                continue
    return received


def head(method: str, path: str, headers: Iterable[tuple[str, str]] = (), *, host: str = "127.0.0.1") -> bytes:
    """The beginning of a request of HTTP/1.1 as it is, every character one octet, after which the connection ends."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def send_http2(
    door: Door, headers: Iterable[tuple[str, str]], body: bytes = b"", *, trailers: Iterable[tuple[str, str]] = ()
) -> Answer | None:
    """The answer to one stream of HTTP/2 with these header lines, each character one octet; None where it was reset."""
    configuration = h2.config.H2Configuration(
        validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1"
    )
    state = h2.connection.H2Connection(configuration)
    state.initiate_connection()
    after = list(trailers)
    state.send_headers(1, _octets(headers), end_stream=not body and not after)
    if body:
        state.send_data(1, body, end_stream=not after)
    if after:
        state.send_headers(1, _octets(after), end_stream=True)
    with door.connect("h2") as connection:
        connection.sendall(state.data_to_send())
        return _read_stream(state, connection)


def _octets(fields: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _read_stream(state: h2.connection.H2Connection, connection: ssl.SSLSocket) -> Answer | None:
    fields: list[tuple[str, str]] = []
    content = b""
    while received := _receive(connection):
        for event in state.receive_data(received):
            match event:
                case h2.events.ResponseReceived():
                    fields = [(str(name), str(value)) for name, value in event.headers]
                case h2.events.DataReceived():
                    content += event.data
                case h2.events.StreamEnded():
                    headers = _joined(fields)
                    return Answer(int(headers.pop(":status")), headers, content)
                case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                    return None
        connection.sendall(state.data_to_send())
    return None


def _receive(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(65_536)
    except (ConnectionError, ssl.SSLError):
        return b""


def _joined(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
