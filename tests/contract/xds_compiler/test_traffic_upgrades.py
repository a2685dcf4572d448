"""A route may let connections become WebSockets; all others refuse."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tests.contract.xds_compiler.services import denied
from tests.contract.xds_compiler.traffic_services import Road


@contextlib.contextmanager
def asked(
    road: Road, path: str, method: str = "GET", upgrade: str = "websocket"
) -> Iterator[tuple[int, socket.socket]]:
    """The status of the answer, and the connection after its headers."""
    head = f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", road.port), timeout=10) as connection:
        connection.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            received = connection.recv(1)
            assert received
            answer += received
        yield int(answer.split()[1]), connection


@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket"])
def test_a_connection_goes_both_ways_after_an_upgrade(road: Road, upgrade: str) -> None:
    with asked(road, "/socket/x", upgrade=upgrade) as (status, connection):
        assert status == 101
        for line in (b"one\n", b"two\n"):
            connection.sendall(line)
            assert connection.recv(100) == line
    assert road.authz.asked[-1].attributes.context_extensions["route"] == "socket"
    assert len(road.ratelimit.asked) <= 1


def test_a_silent_connection_ends(road: Road) -> None:
    with asked(road, "/socket") as (status, connection):
        assert status == 101
        assert connection.recv(100) == b""


def test_nobody_upgrades_who_may_not_call(road: Road) -> None:
    road.authz.decide = lambda request: denied(401, "{}")
    with asked(road, "/socket") as (status, _):
        assert status == 401
    assert not road.backends["blue"].seen


@pytest.mark.parametrize(
    ("path", "method", "upgrade"),
    [
        ("/plain", "GET", "websocket"),
        ("/stream", "GET", "websocket"),
        ("/socket", "POST", "websocket"),
        ("/socket", "GET", "irc/6.9"),
        ("/socket", "GET", "websocket, h2c"),
    ],
)
def test_every_other_upgrade_is_refused(road: Road, path: str, method: str, upgrade: str) -> None:
    with asked(road, path, method, upgrade) as (status, _):
        assert status == 403
    assert not road.backends["blue"].seen


def test_without_an_upgrade_the_route_is_like_any_other(road: Road) -> None:
    assert road.call("POST", "/socket", body=b"x")[0] == 200
    assert road.call("POST", "/socket", body=b"x" * 200_000)[0] == 413
    # A header alone is no upgrade, and buys no body without a bound.
    assert road.call("GET", "/socket", body=b"x" * 200_000, headers={"upgrade": "websocket"})[0] in {400, 413}
