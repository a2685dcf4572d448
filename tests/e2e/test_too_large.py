"""Bodies and headers that are too large, over HTTP/1.1 and HTTP/2: what is on the wire; not every client shows it."""

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from tests.support.client import Client, problem
from tests.support.raw import Door
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
# More than the route takes and than Envoy lets wait: a client is still sending when it is answered.
TOO_LONG = b" " * 1_000_000
TOO_LARGE = [{f"x-more-{number}": "a" for number in range(101)}, {"x-big": "a" * 33_000}]
_PIECE = 16_384


@dataclass
class Seen:
    """What came back on one stream. `reset`: with which error the other side ended it, if it did."""

    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    ended: bool = False
    reset: h2.errors.ErrorCodes | int | None = None

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.headers = {str(name): str(value) for name, value in event.headers}
            case h2.events.DataReceived():
                self.content += event.data
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset():
                self.reset = event.error_code
            case h2.events.ConnectionTerminated():
                raise AssertionError(f"the connection was ended: {event.error_code}")


class Http2:
    """One connection to central, which reads while it sends, as a client should."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        self._state = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self._state.initiate_connection()
        self._flush()

    def call(self, headers: dict[str, str], body: bytes = b"") -> Seen:
        """Sends a request until it is over on both sides, or reset."""
        stream, seen = self._state.get_next_available_stream_id(), Seen()
        pseudo = {":method": "POST" if body else "GET", ":path": PATH, ":scheme": "https", ":authority": "127.0.0.1"}
        self._state.send_headers(stream, [*pseudo.items(), *headers.items()], end_stream=not body)
        while seen.reset is None and (body or not seen.ended):
            room = min(self._state.local_flow_control_window(stream), _PIECE)
            if body and room > 0:
                piece, body = body[:room], body[room:]
                self._state.send_data(stream, piece, end_stream=not body)
            self._flush()
            for event in self._state.receive_data(self._received(0.01 if body and room > 0 else 10)):
                seen.take(event)
        self._flush()
        return seen

    def _flush(self) -> None:
        self._connection.sendall(self._state.data_to_send())

    def _received(self, seconds: float) -> bytes:
        self._connection.settimeout(seconds)
        try:
            received = self._connection.recv(65_536)
        except TimeoutError:
            assert seconds < 1, "nothing came back"
            return b""
        finally:
            self._connection.settimeout(10)
        assert received, "the connection was closed"
        return received


@pytest.fixture
def http2(stack: Stack) -> Iterator[Http2]:
    with Door(stack.ready.central.https, stack.ca_file).connect("h2") as connection:
        yield Http2(connection)


@pytest.fixture
def good(tokens: Tokens, fresh: Fresh) -> dict[str, str]:
    """The headers of a request that passes."""
    return {"authorization": f"Bearer {tokens.of('marketing', fresh)}", "content-type": "application/json"}


@pytest.mark.requirement("R26")
def test_a_body_that_is_too_long_is_answered_over_http1(client: Client, good: dict[str, str]) -> None:
    answer = client.call("POST", PATH, headers=good, content=b" " * 70_000)
    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")


@pytest.mark.requirement("R26")
@pytest.mark.parametrize("length", [{"content-length": str(len(TOO_LONG))}, {}], ids=["length", "no length"])
def test_a_body_that_is_too_long_is_answered_over_http2_and_then_its_stream_is_ended_without_an_error(
    length: dict[str, str], http2: Http2, good: dict[str, str]
) -> None:
    seen = http2.call({**good, **length}, TOO_LONG)
    assert (seen.headers[":status"], seen.headers["content-type"]) == ("413", "application/problem+json")
    body = json.loads(seen.content)
    assert (body["code"], body["request_id"]) == ("body_too_large", seen.headers["x-request-id"])
    # RFC 9113, section 8.1: a whole answer, and then NO_ERROR, asks the client to stop sending.
    assert (seen.ended, seen.reset) == (True, h2.errors.ErrorCodes.NO_ERROR)
    assert http2.call(good).headers[":status"] == "200"


@pytest.mark.requirement("R26")
@pytest.mark.parametrize("headers", TOO_LARGE, ids=["many", "big"])
def test_headers_that_are_too_large_are_answered_over_http1(
    headers: dict[str, str], client: Client, good: dict[str, str]
) -> None:
    answer = client.call("GET", PATH, headers={**good, **headers})
    assert (answer.status_code, problem(answer)["code"]) == (431, "headers_too_large")


@pytest.mark.parametrize("headers", TOO_LARGE, ids=["many", "big"])
def test_headers_that_are_too_large_end_their_stream_over_http2_and_no_other(
    headers: dict[str, str], http2: Http2, good: dict[str, str], client: Client
) -> None:
    before = client.hits("marketing")
    seen = http2.call({**good, **headers})
    # Envoy has not read them, and so has nothing to answer to.
    assert (seen.headers, seen.reset) == ({}, h2.errors.ErrorCodes.INTERNAL_ERROR)
    assert client.hits("marketing") == before
    assert http2.call(good).headers[":status"] == "200"
