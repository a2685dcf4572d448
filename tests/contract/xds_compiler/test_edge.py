"""What Envoy refuses by itself, and how it says so: one error contract, whoever refuses."""

import http.client
import json
import socket
import ssl
import urllib.request
from pathlib import Path

import pytest

from tests.contract.xds_compiler.federation import Federation
from tests.contract.xds_compiler.services import denied
from tests.contract.xds_compiler.test_requests import BODY, problem


def raw(federation: Federation, request: bytes, *, port: int | None = None) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are."""
    context = ssl.create_default_context(cafile=str(federation.certificates.ca_file))
    with (
        socket.create_connection(("127.0.0.1", port or federation.https), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/nothing", "/api/marketing-x", "/api/platform;x/admin"])
def test_a_path_that_no_route_names_is_404(federation: Federation, path: str) -> None:
    answer = federation.call("GET", path)
    assert answer[0] == 404
    assert problem(*answer)["code"] == "not_found"
    assert not federation.authz.asked


@pytest.mark.requirement("R64")
def test_agents_are_not_served_outside_and_customers_not_inside(federation: Federation) -> None:
    assert federation.call("POST", "/api/agents/orchestration", body=BODY)[0] == 404
    assert federation.call("POST", "/api/marketing/content", port=federation.internal, body=BODY)[0] == 404
    assert federation.service.hits == 0


@pytest.mark.attack("A31")
@pytest.mark.parametrize(
    "path",
    [
        "/api/marketing/../platform/admin",
        "/api/marketing/./../platform/admin",
        "//api//platform/admin",
        "/api/marketing/%2e%2e/platform/admin",
        "/api/marketing/..\\platform\\admin",
        "/api/platform/%61dmin",
    ],
)
def test_every_spelling_of_a_path_is_judged_by_the_route_that_serves_it(federation: Federation, path: str) -> None:
    federation.call("GET", path)
    assert {one.attributes.context_extensions["route"] for one in federation.authz.asked} == {"platform"}
    assert {one.attributes.request.http.path for one in federation.authz.asked} <= {
        "/api/platform/admin",
        "/api/platform/%61dmin",
    }


@pytest.mark.parametrize("path", ["/api/marketing%2f..%2fplatform", "/api/marketing/x%5c..%5cy", "/api/marketing/%00"])
def test_an_ambiguous_path_is_400(federation: Federation, path: str) -> None:
    answer = federation.call("GET", path)
    assert answer[0] == 400
    assert problem(*answer)["code"] == "bad_request"
    assert not federation.authz.asked


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\nx_user_id: 1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", 426, "upgrade_required"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx-long: " + b"x" * 40_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: 1\r\n" * 120 + b"\r\n", 431, "headers_too_large"),
        (
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "bad_request",
        ),
    ],
    ids=["underscore", "no host", "HTTP/1.0", "long header", "many headers", "smuggling"],
)
def test_what_is_refused_before_there_is_a_request_is_a_problem_with_an_id_too(
    federation: Federation, request_bytes: bytes, status: int, code: str
) -> None:
    answer = raw(federation, request_bytes)
    assert answer[0] == status
    assert problem(*answer)["code"] == code


def test_what_came_over_tls_is_https_whatever_the_request_line_says(federation: Federation) -> None:
    line = b"GET http://127.0.0.1/api/marketing/content HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert raw(federation, line)[0] == 200
    for one in federation.authz.asked:
        assert one.attributes.request.http.scheme == "https"
        assert one.attributes.request.http.headers.get(":scheme", "https") == "https"


def test_a_service_that_cannot_be_reached_is_503(federation: Federation) -> None:
    answer = federation.call("GET", "/api/sales/leads")
    assert answer[0] == 503
    assert problem(*answer)["code"] == "service_unavailable"


def test_a_service_that_takes_too_long_is_504(federation: Federation) -> None:
    answer = federation.call("GET", "/api/marketing/hasty/slow")
    assert answer[0] == 504
    assert problem(*answer)["code"] == "upstream_timeout"


def test_an_upgrade_is_refused(federation: Federation) -> None:
    upgrade = b"GET /api/marketing/content HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    answer = raw(federation, upgrade)
    assert answer[0] == 403
    assert problem(*answer)["code"] == "forbidden"
    assert federation.service.hits == 0


@pytest.mark.requirement("R10")
def test_plain_http_is_sent_to_https_and_serves_nothing(federation: Federation) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", federation.http, timeout=10)
    try:
        connection.request("GET", "/api/marketing/content?a=b", headers={"host": f"127.0.0.1:{federation.http}"})
        answer = connection.getresponse()
        assert answer.status == 301
        assert answer.headers["location"] == f"https://127.0.0.1:{federation.https}/api/marketing/content?a=b"
    finally:
        connection.close()
    assert not federation.authz.asked


@pytest.mark.requirement("R10")
def test_the_public_door_speaks_tls_1_2_and_1_3_and_sends_hsts(federation: Federation) -> None:
    _, headers, _ = federation.call("GET", "/api/marketing/content")
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert federation.call("GET", "/nothing")[1]["strict-transport-security"] == "max-age=31536000"
    early = raw(federation, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")[1]
    assert early["strict-transport-security"] == "max-age=31536000"
    assert "x-envoy-upstream-service-time" not in headers
    assert headers["server"] == "apibank"


def test_each_door_answers_health_checks_without_asking_anybody(federation: Federation) -> None:
    for port in (federation.https, federation.internal):
        status, headers, _ = federation.call("GET", "/healthz", port=port)
        assert status == 200
        assert not [name for name in headers if name.startswith("x-envoy-")]
    assert not federation.authz.asked


@pytest.mark.requirement("R105")
def test_the_pages_of_waooaw_may_call_and_others_may_not(federation: Federation) -> None:
    def preflight(origin: str) -> tuple[int, dict[str, str], bytes]:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        return federation.call("OPTIONS", "/api/marketing/content", headers=asked)

    status, headers, _ = preflight("https://app.waooaw.ai")
    assert status == 200
    assert headers["access-control-allow-origin"] == "https://app.waooaw.ai"
    assert "POST" in headers["access-control-allow-methods"]
    for origin in ("https://evil.test", "https://app.waooaw.ai.evil.test", "null", "http://app.waooaw.ai"):
        assert "access-control-allow-origin" not in preflight(origin)[1]
    assert federation.service.hits == 0
    assert not federation.authz.asked


@pytest.mark.requirement("R92")
def test_a_page_may_send_its_refresh_cookie(federation: Federation) -> None:
    asked = {
        "origin": "https://app.waooaw.ai",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-requested-with",
    }
    status, headers, _ = federation.call("OPTIONS", "/api/auth/refresh", headers=asked)
    assert status == 200
    assert headers["access-control-allow-credentials"] == "true"
    assert "x-requested-with" in headers["access-control-allow-headers"].split(", ")
    assert headers["vary"] == "origin"


def test_what_may_differ_between_origins_is_cached_for_each(federation: Federation) -> None:
    for path in ("/api/marketing/content", "/api/nothing"):
        for origin in ({}, {"origin": "https://waooaw.ai"}, {"origin": "https://evil.test"}):
            assert federation.call("GET", path, headers=origin)[1]["vary"] == "origin"
    assert "vary" not in federation.call("POST", "/api/agents/orchestration", port=federation.internal)[1]


def test_a_page_can_read_why_it_was_refused(federation: Federation) -> None:
    federation.authz.decide = lambda request: denied(401, "{}")
    status, headers, _ = federation.call("GET", "/api/marketing/content", headers={"origin": "https://waooaw.ai"})
    assert status == 401
    assert headers["access-control-allow-origin"] == "https://waooaw.ai"
    assert "x-request-id" in headers["access-control-expose-headers"]


@pytest.mark.attack("A43")
@pytest.mark.parametrize("shown", ["none", "marketing", "public"])
def test_a_domain_gateway_answers_central_alone(federation: Federation, shown: str) -> None:
    certificates = federation.certificates
    context = ssl.create_default_context(cafile=str(certificates.ca_file))
    if shown != "none":
        pair = certificates.public if shown == "public" else certificates.mesh[shown]
        context.load_cert_chain(pair.chain_file, pair.key_file)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(context, federation.mesh)
    assert not federation.authz.asked


def _ask(context: ssl.SSLContext, port: int) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="marketing-gateway") as connection,
    ):
        connection.sendall(b"GET /api/marketing/content HTTP/1.1\r\nHost: a\r\n\r\n")
        # With TLS 1.3 the refusal comes after the client's side of the handshake.
        if not (answer := connection.recv(1)):
            raise ConnectionResetError
        return answer


def test_central_is_let_in_by_its_certificate(federation: Federation) -> None:
    federation.call("GET", "/api/marketing/content")
    source = federation.authz.asked[1].attributes.source
    assert source.principal == "spiffe://waooaw.ai/gateway/central"
    assert source.certificate


@pytest.mark.parametrize(("path", "address"), [("/api/nothing", "127.0.0.9"), ("/healthz", "127.0.0.11")])
def test_a_flood_from_one_address_is_stopped_ahead_of_python(federation: Federation, path: str, address: str) -> None:
    context = ssl.create_default_context(cafile=str(federation.certificates.ca_file))
    flooder = http.client.HTTPSConnection(
        "127.0.0.1", federation.https, context=context, source_address=(address, 0), timeout=10
    )
    refused = None
    for number in range(3000):
        # Nobody has another bucket for saying that it is somebody else, however that is spelt.
        claimed = ("X-Forwarded-For", "x-forwarded-for", "X-ENVOY-EXTERNAL-ADDRESS", "True-Client-IP")[number % 4]
        flooder.request("GET", path, headers={claimed: f"192.0.2.{number % 250}"})
        answer = flooder.getresponse()
        content = answer.read()
        if answer.status == 429:
            refused = answer.status, {name.lower(): value for name, value in answer.getheaders()}, content
            break
    flooder.close()
    assert refused is not None
    assert problem(*refused)["code"] == "rate_limited"
    assert refused[1]["retry-after"] == "1"
    # Others have buckets of their own.
    assert federation.call("GET", "/api/nothing", address="127.0.0.10")[0] == 404


def test_no_private_key_is_shown_by_envoy(federation: Federation) -> None:
    with urllib.request.urlopen(f"{federation.admin['central']}/config_dump?include_eds", timeout=10) as answer:
        dump = answer.read().decode()
    key = Path(federation.certificates.public.key_file).read_text().splitlines()[1]
    assert key not in dump
    assert json.loads(dump)
