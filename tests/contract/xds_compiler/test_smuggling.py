"""What is sent byte by byte: nobody makes one request be read as two, or claims by a header what a gateway says."""

import json
import socket

import pytest

from policy.descriptors import IDENTITY_HEADERS, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from tests.contract.xds_compiler.traffic_services import Road

_HEAD = b"POST /plain HTTP/1.1\r\nHost: a\r\n"
_SECOND = b"POST /admin HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + _SECOND,
    "two equal lengths": b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": b"Content-Length: +5\r\n\r\nhello",
    "a negative length": b"Content-Length: -5\r\n\r\nhello",
    "a length in hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks of gzip": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "an extension with a bare LF": b"Transfer-Encoding: chunked\r\n\r\n5;\nxx\r\nhello\r\n0\r\n\r\n",
    "chunks with bare LFs": b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk beyond all bounds": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a chunk with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk that goes on": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "NUL in a value": b"X-A: b\x00c\r\n\r\n",
    "an address that is the connection's": b"Connection: close, x-forwarded-for\r\n\r\n",
}
# Read by some servers in another way, so it is told on in the one way that all read alike: as lengths.
TOLD_ANEW = {
    "a folded header": (b"X-A: b\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 5),
    "bare LFs": (b"X-A: b\nContent-Length: 5\n\nhello", 5),
    "a bare CR": (b"X-A: b\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello", 5),
    "extensions of chunks": (b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n", 5),
    "a request in a body": (b"Content-Length: %d\r\n\r\n%s" % (len(_SECOND), _SECOND), len(_SECOND)),
    "trailers": (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-waooaw-subject: eve\r\n\r\n", 5),
}


def answers(road: Road, *parts: bytes) -> bytes:
    """What comes back until the connection is closed, or silent for a while."""
    with socket.create_connection(("127.0.0.1", road.port), timeout=10) as connection:
        received = b""
        for part in parts:
            connection.sendall(part)
            connection.settimeout(0.5)
            try:
                while some := connection.recv(65_536):
                    received += some
            except (TimeoutError, ConnectionError):
                pass
        return received


@pytest.mark.attack("A38")
@pytest.mark.parametrize("what", AMBIGUOUS)
def test_a_message_without_one_clear_end_is_refused(road: Road, what: str) -> None:
    answer = answers(road, _HEAD + AMBIGUOUS[what])
    assert answer.split()[1] in {b"400", b"501"}
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not road.authz.asked
    assert not road.backends["blue"].seen


@pytest.mark.parametrize("what", TOLD_ANEW)
def test_what_could_be_read_otherwise_is_told_on_as_one_request_with_a_length(road: Road, what: str) -> None:
    rest, length = TOLD_ANEW[what]
    assert answers(road, _HEAD + rest).split()[1] == b"200"
    (seen,) = road.backends["blue"].seen
    assert (seen["method"], seen["path"], seen["length"]) == ("POST", "/plain", length)
    assert "transfer-encoding" not in seen["headers"]
    assert "x-waooaw-subject" not in seen["headers"]


@pytest.mark.attack("A36")
@pytest.mark.parametrize("body", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_what_follows_an_upgrade_waits_until_the_service_has_agreed(road: Road, body: bytes) -> None:
    # The service refuses the upgrade, keeps the connection, and would take the rest for another request.
    head = b"GET /socket?refuse=1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + body
    answer = answers(road, head + b"Sec-WebSocket-Version: 777\r\n\r\n" + _SECOND, _SECOND)
    assert b"HTTP/1.1 101" not in answer
    assert "/admin" not in {seen["path"] for seen in road.backends["blue"].seen}
    assert len(road.authz.asked) <= 1


def test_an_upgrade_to_http_2_is_none(road: Road) -> None:
    head = b"GET /plain HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    assert answers(road, head + b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n").startswith(b"HTTP/1.1 200")
    (seen,) = road.backends["blue"].seen
    assert not {"upgrade", "http2-settings", "connection"} & seen["headers"].keys()


@pytest.mark.attack("A37", "A40")
def test_no_client_says_who_it_is_or_steers_an_envoy_by_a_header(road: Road) -> None:
    steering = (
        "retry-on",
        "max-retries",
        "upstream-rq-timeout-ms",
        "original-path",
        "internal",
        "force-trace",
        "ip-tags",
    )
    claimed = {*SPOOFABLE_HEADERS, *IDENTITY_HEADERS, *(f"{prefix}x" for prefix in SPOOFABLE_PREFIXES)}
    claimed |= {f"x-envoy-{name}" for name in steering}
    # As many as a request may have.
    for some in (sorted(claimed)[:70], sorted(claimed)[70:]):
        road.forget()
        status, _, body = road.call("GET", "/plain", headers={name.title(): "eve" for name in some})
        assert status == 200
        assert "eve" not in json.loads(body)["headers"].values()
        asked = road.authz.asked[-1].attributes.request.http.headers
        assert not set(some) & asked.keys()


@pytest.mark.parametrize(
    "ask", [{}, {"x-envoy-retry-on": "5xx"}, {"X-Envoy-Max-Retries": "9", "x-envoy-retry-on": "5xx"}]
)
def test_no_client_makes_a_gateway_try_again(road: Road, ask: dict[str, str]) -> None:
    assert road.call("GET", f"/plain?fail=3&id=amplified{len(ask)}", headers=ask)[0] == 503
    assert len(road.backends["blue"].seen) == 1


@pytest.mark.parametrize(
    "path",
    [
        *("/redirect/%0d%0aset-cookie:%20a=b", "/redirect/a\\..\\b", "/redirect/%E5%98%8A%E5%98%8D", "/redirect;x/y"),
        *("/redirect/..;/x", "/redirect/%2e%2e;/x", "/redirect/%25%30%64%25%30%61x", "/redirect//evil.test"),
        *("/redirect/same/%0d%0ax:y", "/redirect/same/\\\\evil.test", "/redirect/one/%0d%0a%0d%0a<script>"),
        *("/redirect/\tx", "/redirect/\x00", "/redirect/é"),
    ],
)
def test_no_path_ends_the_header_of_a_redirect_or_changes_its_host(road: Road, path: str) -> None:
    answer = answers(road, f"GET {path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n".encode("latin-1"))
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    places = [line.partition(b": ")[2] for line in head if line.lower().startswith(b"location:")]
    assert all(
        place.startswith((b"https://new.test/", b"http://new.test:8443/", b"http://gateway.test/plain"))
        for place in places
    )
    assert not [line for line in head if line.lower().startswith((b"set-cookie", b"x:", b"<script"))]
    assert answer.count(b"HTTP/1.1 ") == 1
