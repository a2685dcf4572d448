"""A service that speaks HTTP/2 gets trailers, and in them no more claims than in headers."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.contract.xds_compiler.federation import free_port
from tests.contract.xds_compiler.services import Authz, RateLimit, allowed, serve
from tests.contract.xds_compiler.static_envoy import running
from xds.compiler import compile_

CLAIMS = ("x-waooaw-subject", "x-user-id", "x-tenant-id", "x-forwarded-host", "x-envoy-retry-on", "x-original-url")


class Http2Service:
    """Answers 200 to everything and remembers the trailers."""

    def __init__(self) -> None:
        self.trailers: list[dict[str, str]] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        with contextlib.suppress(OSError):
            connection.sendall(state.data_to_send())
            while received := connection.recv(65_536):
                for event in state.receive_data(received):
                    if isinstance(event, h2.events.TrailersReceived):
                        self.trailers.append({str(name, "ascii"): str(value, "ascii") for name, value in event.headers})
                    if isinstance(event, h2.events.StreamEnded):
                        state.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                connection.sendall(state.data_to_send())

    def stop(self) -> None:
        self._socket.close()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[tuple[int, Http2Service]]:
    authz, service, port = Authz(), Http2Service(), free_port()
    authz.decide = lambda request: allowed(tier="free", caller="tenant:acme")
    server, services = serve(authz, RateLimit())
    own = {"endpoint": f"127.0.0.1:{services}", "timeout_ms": 2000}
    policy = {
        "gateway": "trailers",
        "description": "One route to a service of HTTP/2.",
        "owners": ["tests@waooaw.ai"],
        "callers": {"partners": True},
        "tiers": ["free"],
        "services": {"authz": own, "ratelimit": dict(own)},
        "listeners": {"door": {"address": f"127.0.0.1:{port}"}},
        "upstreams": {"service": {"endpoints": [service.endpoint], "protocol": "http2"}},
        "defaults": {"methods": {"POST": "write"}},
        "routes": {"all": {"path": "/", "upstream": "service"}},
    }
    loaded = load_gateway(Gateway, Source("trailers.yaml", yaml.safe_dump(policy)))
    try:
        with running(compile_(loaded, {}), tmp_path, free_port()):
            yield port, service
    finally:
        server.stop(0).wait()
        service.stop()


@pytest.mark.attack("A37")
def test_no_client_says_who_it_is_in_a_trailer(door: tuple[int, Http2Service]) -> None:
    port, service = door
    state = h2.connection.H2Connection(h2.config.H2Configuration())
    state.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/x")]
    state.send_headers(1, head)
    state.send_data(1, b"hello")
    state.send_headers(1, [*((name, "eve") for name in CLAIMS), ("x-checksum", "7")], end_stream=True)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(state.data_to_send())
        ended = False
        while not ended and (received := connection.recv(65_536)):
            ended = any(isinstance(event, h2.events.StreamEnded) for event in state.receive_data(received))
    assert ended
    assert service.trailers == [{"x-checksum": "7"}]
