"""Addresses that a client claims, and preambles that claim one."""

import socket
import ssl
import struct

import pytest

from tests.e2e.conftest import INTERNAL_ADDRESS, OUTSIDE_ADDRESS
from tests.support.client import Client
from tests.support.evidence import Evidence
from tests.support.raw import Door, head, send
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

ADMIN = "/api/platform/admin/logs"
NAMES = (
    *("X-Forwarded-For", "x-forwarded-for", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP"),
    *("X-Cluster-Client-IP", "Fastly-Client-IP", "X-Waooaw-Client-Address", "X-Envoy-External-Address"),
    *("X-Original-Forwarded-For", "X-Originating-IP", "X-Remote-IP", "Client-IP", "X-Azure-ClientIP", "X-ProxyUser-IP"),
)
INSIDE = ("10.0.0.1", INTERNAL_ADDRESS, "::ffff:10.0.0.1", "127.0.0.1")
CLAIMS = {
    **{f"A44 {name} {value}": [(name, value)] for name in NAMES for value in INSIDE[:2]},
    **{f"A44 X-Forwarded-For {value}": [("X-Forwarded-For", value)] for value in INSIDE},
    "A44 Forwarded": [("Forwarded", f"for={INTERNAL_ADDRESS};by={INTERNAL_ADDRESS}")],
    "A44 Forwarded quoted": [("Forwarded", 'for="[::ffff:10.0.0.1]:1234"')],
    "A44 a chain": [("X-Forwarded-For", f"{INTERNAL_ADDRESS}, {INTERNAL_ADDRESS}, 10.0.0.1")],
    "A44 a chain that ends inside": [("X-Forwarded-For", f"192.0.2.1, {INTERNAL_ADDRESS}")],
    "A44 several lines": [("X-Forwarded-For", INTERNAL_ADDRESS), ("X-Forwarded-For", "10.0.0.1")],
    "A44 a port": [("X-Forwarded-For", f"{INTERNAL_ADDRESS}:443")],
    "A44 nonsense": [("X-Forwarded-For", "unknown"), ("X-Waooaw-Client-Address", "")],
    "A44 all at once": [(name, INTERNAL_ADDRESS) for name in NAMES],
}


@pytest.mark.attack("A44")
@pytest.mark.requirement("R13", "R35")
@pytest.mark.parametrize("case", CLAIMS)
def test_the_peer_decides_and_no_header(
    case: str, evidence: Evidence, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    door = Door(stack.ready.central.https, stack.ca_file, address=OUTSIDE_ADDRESS)
    token = tokens.admin(fresh)
    with evidence.attempt(token) as attempt:
        answer = send(door, head("GET", ADMIN, [("Authorization", f"Bearer {token}"), *CLAIMS[case]]))
        event = attempt.refused(answer, 403, "address_not_allowed")
        assert event["address"] == OUTSIDE_ADDRESS


@pytest.mark.attack("A44")
@pytest.mark.requirement("R35")
def test_nobody_is_shut_out_by_what_he_claims(
    evidence: Evidence, internal: Client, tokens: Tokens, fresh: Fresh
) -> None:
    for claimed in ("192.0.2.1", OUTSIDE_ADDRESS, "nonsense"):
        headers = {"x-forwarded-for": claimed, "x-waooaw-client-address": claimed, "x-real-ip": claimed}
        with evidence.attempt() as attempt:
            answer = internal.call("GET", ADMIN, token=tokens.admin(fresh), headers=headers)
            attempt.let_pass(answer, "platform")
            told = attempt.told(answer.headers["x-request-id"], 2)
            assert [one["address"] for one in told] == [INTERNAL_ADDRESS] * 2


@pytest.mark.attack("A44", "A45")
@pytest.mark.requirement("R64")
def test_the_inner_door_is_for_the_inner_network(evidence: Evidence, stack: Stack) -> None:
    door = Door(stack.ready.central.internal_https, stack.ca_file, address=OUTSIDE_ADDRESS)
    for claims in CLAIMS["A44 all at once"], CLAIMS["A44 Forwarded"]:
        with evidence.attempt() as attempt:
            answer = send(door, head("GET", "/api/agents/memory", claims))
            attempt.refused(answer, 403, "address_not_allowed")


VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x11]) + struct.pack(">H", 12)
PREAMBLES = {
    "A46 version 1": f"PROXY TCP4 10.0.0.1 {INTERNAL_ADDRESS} 1234 443\r\n".encode(),
    "A46 version 1 unknown": b"PROXY UNKNOWN\r\n",
    "A46 version 2": VERSION_2 + socket.inet_aton("10.0.0.1") * 2 + struct.pack(">HH", 1234, 443),
}


@pytest.mark.attack("A46")
@pytest.mark.parametrize("case", PREAMBLES)
@pytest.mark.parametrize("which", ["https", "internal_https"])
def test_a_proxy_preamble_is_no_handshake(case: str, which: str, evidence: Evidence, stack: Stack) -> None:
    door = Door(getattr(stack.ready.central, which), stack.ca_file, address=OUTSIDE_ADDRESS)
    with evidence.attempt() as attempt:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            door.connect(first=PREAMBLES[case])
        attempt.reached_nobody()
    with door.plain() as connection, evidence.attempt() as attempt:
        connection.settimeout(2)
        connection.sendall(PREAMBLES[case] + head("GET", ADMIN))
        try:
            said = connection.recv(100)
        except OSError:
            said = b""
        assert not said.startswith(b"HTTP/1.1 2")
        attempt.reached_nobody()
