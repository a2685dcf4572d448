"""What a client sees frame by frame: some show a reset that follows an answer in the place of the answer."""

import socket
import ssl
from collections.abc import Iterator

import h2.config
import h2.connection
import h2.events
import pytest

from tests.contract.xds_compiler.federation import Federation
from tests.contract.xds_compiler.services import denied
from tests.contract.xds_compiler.test_requests import BODY


class Http2:
    """One connection to the public door, for one request."""

    def __init__(self, federation: Federation) -> None:
        context = ssl.create_default_context(cafile=str(federation.certificates.ca_file))
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", federation.https), timeout=10)
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self._state = h2.connection.H2Connection(h2.config.H2Configuration())
        self._state.initiate_connection()

    def head(self, path: str) -> None:
        self._state.send_headers(
            1, [(":method", "POST"), (":scheme", "https"), (":authority", "127.0.0.1"), (":path", path)]
        )
        # Whoever answers a ping has read what was sent before it.
        self._state.ping(b"arrived?")
        self._send()

    def body(self, content: bytes) -> None:
        self._state.send_data(1, content, end_stream=True)
        self._send()

    def until(self, last: type[h2.events.Event]) -> Iterator[h2.events.Event]:
        while received := self._socket.recv(65_536):
            for event in self._state.receive_data(received):
                yield event
                if isinstance(event, last):
                    return
            self._send()
        raise ConnectionResetError

    def close(self) -> None:
        self._socket.close()

    def _send(self) -> None:
        self._socket.sendall(self._state.data_to_send())


@pytest.mark.parametrize("attempt", range(5))
def test_a_refusal_waits_for_the_body_and_is_not_followed_by_a_reset(federation: Federation, attempt: int) -> None:
    federation.authz.decide = lambda request: denied(401, "{}")
    client = Http2(federation)
    try:
        client.head("/api/marketing/content")
        early = list(client.until(h2.events.PingAckReceived))
        client.body(BODY)
        events = [*early, *client.until(h2.events.StreamEnded)]
    finally:
        client.close()
    (answer,) = [one for one in events if isinstance(one, h2.events.ResponseReceived)]
    assert answer not in early
    assert dict(answer.headers)[b":status"] == b"401"
    assert not [one for one in events if isinstance(one, h2.events.StreamReset)]
    assert federation.authz.asked[0].attributes.request.http.headers["content-length"] == str(len(BODY))
