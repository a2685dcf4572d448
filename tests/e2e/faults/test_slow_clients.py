"""Clients that hold what they have: they are ended, and nobody else waits for them."""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator

from tests.support.client import Client
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

MANY = 200
# How long central waits for the headers of a request (request_headers_timeout), and somewhat more.
HEADERS_SECONDS, AT_MOST = 10, 25


@contextlib.contextmanager
def connections(stack: Stack, count: int) -> Iterator[list[ssl.SSLSocket]]:
    """Connections to the public door that speak HTTP/1.1 and have said nothing yet."""
    context = ssl.create_default_context(cafile=stack.ca_file)
    host, _, port = stack.ready.central.https.removeprefix("https://").partition(":")
    with contextlib.ExitStack() as held:
        found = []
        for _ in range(count):
            plain = socket.create_connection((host, int(port)), 10)
            found.append(held.enter_context(context.wrap_socket(plain, server_hostname=host)))
        yield found


def served(client: Client, tokens: Tokens, fresh: Fresh) -> bool:
    token = tokens.of("marketing", fresh)
    return client.call("GET", "/api/marketing/seo", token=token).status_code == 200


def test_headers_that_never_end_are_ended_and_hold_up_nobody(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    with connections(stack, MANY) as slow:
        begun = time.monotonic()
        for one in slow:
            one.sendall(b"GET /api/marketing/seo HTTP/1.1\r\nhost: slow\r\nx-slow: ")
        assert all(served(client, tokens, fresh) for _ in range(5))
        # An octet now and then does not make it a request.
        time.sleep(HEADERS_SECONDS / 2)
        for one in slow:
            one.sendall(b"a")
        assert served(client, tokens, fresh)
        for one in slow:
            one.settimeout(max(AT_MOST - (time.monotonic() - begun), 1))
            answer = b""
            with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
                while part := one.recv(4096):
                    answer += part
            # 408 and the end, or the end alone.
            assert answer == b"" or answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert served(client, tokens, fresh)


def test_many_connections_that_say_nothing_hold_up_nobody(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    with connections(stack, MANY):
        assert all(served(client, tokens, fresh) for _ in range(10))
    assert served(client, tokens, fresh)


def test_an_answer_that_nobody_reads_holds_up_nobody(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    request = b"GET /api/openapi.json HTTP/1.1\r\nhost: slow\r\n\r\n"
    with connections(stack, 20) as deaf:
        for one in deaf:
            # Pipelined: more answers than any buffer takes, and none of them is read.
            one.sendall(request * 20)
        assert all(served(client, tokens, fresh) for _ in range(10))
