"""Spellings of a path, an authority or a name by which somebody might get where no rule lets them."""

import pytest

from tests.support.client import problem
from tests.support.evidence import Evidence
from tests.support.forging import Forge
from tests.support.raw import Door, head, send, send_http2
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens
from waooaw_signing import sign

ADMIN = "/api/platform/admin"
# A customer's token opens marketing, and is 403 at the platform: its policy decides, or nobody's does.
SPELLINGS = [
    "//api/platform/admin", "/api//platform/admin", "/api/platform//admin", "///api///platform///admin",
    "/./api/platform/admin", "/api/./platform/admin", "/api/platform/./admin", "/api/platform/admin/.",
    "/api/marketing/../platform/admin", "/api/marketing/content/../../platform/admin",
    "/../api/platform/admin", "/api/marketing/%2e%2e/platform/admin", "/api/marketing/%2E%2E/platform/admin",
    "/api/marketing/.%2e/platform/admin", "/api/marketing/%2e./platform/admin",
    "/api/marketing%2f..%2fplatform%2fadmin", "/api/marketing%2F..%2Fplatform", "/api%2fplatform%2fadmin",
    "/api/platform%2fadmin", "/%2fapi/platform/admin", "/api%5cplatform%5cadmin",
    "/api/marketing/..%2fplatform/admin", "/api/marketing/..%5cplatform/admin",
    "/api/marketing%5c..%5cplatform/admin", "/api\\platform\\admin", "/api/marketing\\..\\platform\\admin",
    "\\api\\platform\\admin", "/api/platform;x/admin", "/api/platform/admin;x", "/api;/platform/admin",
    "/api/platform;/admin", "/api/marketing/..;/platform/admin", "/api/marketing/..;x=1/platform/admin",
    "/api/marketing/;/../platform/admin", "/api/marketing/.;/../platform/admin",
    "/api/marketing/%3b/../platform/admin", "/api/marketing/..%3b/platform/admin", "/api/platform/admin.",
    "/api/platform/admin/", "/api/platform/admin%20", "/api/platform/admin%00", "/api/platform/admin%09",
    "/api/platform%00/admin", "/api/marketing/%00/../platform/admin", "/api/platform/admin%0a",
    "/api/platform/admin%0d%0a", "/api/marketing/%252e%252e/platform/admin",
    "/api/marketing/%252e%252e%252fplatform", "/api%252fplatform%252fadmin",
    "/api/marketing/%25252e%25252e/platform", "/api/marketing/%%32%65%%32%65/platform/admin",
    "/api/platform/%61dmin", "/api/%70latform/admin", "/%61pi/platform/admin", "/API/PLATFORM/ADMIN",
    "/api/Platform/admin", "/api/platform/Admin", "/api/marketing/%c0%ae%c0%ae/platform/admin",
    "/api/marketing/%c0%2e%c0%2e/platform", "/api/marketing/..%c0%afplatform",
    "/api/marketing/%u002e%u002e/platform/admin", "/api/marketing/%uff0e%uff0e/platform",
    "/api/marketing/..%ef%bc%8fplatform", "/api/marketing/...//platform/admin",
    "/api/marketing/..../platform/admin", "/api/marketing/. ./platform", "/api/platform/admin#",
    "/api/platform#/admin", "/api/marketing#/../platform/admin", "/api/marketing/%23/../platform/admin",
    "/api/platform/admin?", "/api/platform?/admin", "/api/platform/admin%3f",
    "/api/marketing?/../../platform/admin", "/api/platform/admin&x", "/api/platform/admin=",
    "/api/platform/admin,", "/api/platform/admin:80", "/api/platform/admin@x", "/api/platform/admin~",
    "/api/platform/admin*", "/api/platform/admin%", "/api/platform/admin%2", "/api/platform/admin%zz",
    "http://127.0.0.1/api/platform/admin", "https://platform-gateway/api/platform/admin",
    "http:///api/platform/admin", "//platform-gateway/api/platform/admin", "api/platform/admin", "*",
    "/api/platform/health/../admin", "/api/platform/health%2f..%2fadmin", "/api/platform/health/..;/admin",
    "/api/platform/health;/../admin", "/api/auth/refresh/../../platform/admin",
    "/healthz/../api/platform/admin", "/portal/../api/platform/admin",
]  # fmt: skip
NOBODYS = {400, 404}


@pytest.mark.attack("A31", "A32")
@pytest.mark.requirement("R2", "R15")
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("path", SPELLINGS)
def test_no_spelling_of_administration_is_judged_as_something_else(
    path: str, protocol: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    token = forge.token()
    with evidence.attempt(token) as attempt:
        line = ("authorization", f"Bearer {token}")
        if protocol == "h2":
            answer = send_http2(public_door, [*pseudo(path), line])
        else:
            answer = send(public_door, head("GET", path, [line]))
        attempt.reached_nobody()
        if answer is None or answer.status_code in NOBODYS:
            return
        assert answer.status_code in {401, 403}, (answer.status_code, answer.text)
        events = attempt.events(str(problem(answer)["request_id"]))
        assert {one["route"] for one in events} <= {"platform", "admin"}, events


def pseudo(path: str, **changes: str) -> list[tuple[str, str]]:
    """What begins a request of HTTP/2 (RFC 9113 §8.3.1)."""
    good = {"method": "GET", "scheme": "https", "authority": "127.0.0.1", "path": path, **changes}
    return [(f":{name}", value) for name, value in good.items()]


# What is asked for, and the path that authorization sees.
QUERIES = {
    "A32 a question mark in the query": ("/api/marketing/content?a=/x?b=1", "/api/marketing/content"),
    "A32 a path in the query": ("/api/marketing/content?/../platform", "/api/marketing/content"),
    "A32 a fragment of a path in the query": (
        "/api/marketing/content?a=1/../../platform/admin",
        "/api/marketing/content",
    ),
}


@pytest.mark.attack("A32")
@pytest.mark.requirement("R16")
@pytest.mark.parametrize("case", QUERIES)
def test_path_and_query_part_at_the_first_question_mark(
    case: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    asked, path = QUERIES[case]
    with evidence.attempt() as attempt:
        answer = send(public_door, head("GET", asked, [("Authorization", f"Bearer {forge.token()}")]))
        echo = attempt.let_pass(answer, "marketing")
        assert echo["path"] == asked
        events = attempt.events(echo["headers"]["x-request-id"], patience=0.3)
        assert {one["path"] for one in events} == {path}


@pytest.mark.attack("A32")
@pytest.mark.parametrize("path", ["/api/marketing/content%3Fa=1", "/api/marketing/content%3f/../x"])
def test_an_encoded_question_mark_parts_nothing(path: str, evidence: Evidence, public_door: Door, forge: Forge) -> None:
    with evidence.attempt() as attempt:
        answer = send(public_door, head("GET", path, [("Authorization", f"Bearer {forge.token()}")]))
        attempt.reached_nobody()
        assert answer.status_code in NOBODYS


REWRITING = (
    *("x-envoy-original-path", "x-original-url", "x-rewrite-url", "x-forwarded-uri", "x-forwarded-prefix"),
    *("x-original-uri", "x-forwarded-path", "x-envoy-original-host", "x-forwarded-host", "x-host"),
    *("x-http-method-override", "x-http-method", "x-method-override", "x-envoy-original-method"),
)


@pytest.mark.attack("A33")
@pytest.mark.parametrize("name", REWRITING)
def test_no_header_says_what_is_asked_for(name: str, evidence: Evidence, public_door: Door, forge: Forge) -> None:
    value = "DELETE" if "method" in name else ADMIN
    lines = [("Authorization", f"Bearer {forge.token()}"), (name, value)]
    with evidence.attempt() as attempt:
        echo = attempt.let_pass(send(public_door, head("GET", "/api/marketing/content", lines)), "marketing")
        assert (echo["method"], echo["path"]) == ("GET", "/api/marketing/content")
        assert value not in echo["headers"].values()
    # Nor does it open what is not for this caller.
    asked = [("Authorization", f"Bearer {forge.token()}"), (name, "/api/marketing/content")]
    inside = Door(public_door.url, public_door.ca_file, address="127.0.0.2")
    with evidence.attempt() as attempt:
        attempt.refused(send(inside, head("GET", ADMIN, asked)), 403, "caller_not_admitted")


MALFORMED = {
    "A34 an octet that is no UTF-8": "/api/marketing/content/\xff",
    "A34 overlong slash": "/api/marketing/content/\xc0\xaf",
    "A34 overlong slash encoded": "/api/marketing/content/%c0%af",
    "A34 half a character encoded": "/api/marketing/content/%c3",
    "A34 a surrogate encoded": "/api/marketing/content/%ed%a0%80",
    "A34 beyond Unicode": "/api/marketing/content/%f4%90%80%80",
    "A34 NUL": "/api/marketing/content/\x00",
    "A34 NUL encoded": "/api/marketing/content/%00",
    "A34 escape": "/api/marketing/content/%1b[2J",
    "A34 delete": "/api/marketing/content/%7f",
    "A34 a tab": "/api/marketing/content/\tx",
    "A34 C1": "/api/marketing/content/%c2%85",
}


@pytest.mark.attack("A34")
@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
@pytest.mark.parametrize("case", MALFORMED)
def test_octets_that_are_no_path_are_a_bad_request(
    case: str, protocol: str, evidence: Evidence, public_door: Door, forge: Forge
) -> None:
    path, line = MALFORMED[case], ("authorization", f"Bearer {forge.token()}")
    with evidence.attempt() as attempt:
        if protocol == "h2":
            answer = send_http2(public_door, [*pseudo(path), line])
        else:
            answer = send(public_door, head("GET", path, [line]))
        attempt.reached_nobody()
        assert answer is None or answer.status_code == 400


@pytest.mark.attack("A34")
def test_a_path_without_end_is_refused(evidence: Evidence, public_door: Door, forge: Forge) -> None:
    line = ("Authorization", f"Bearer {forge.token()}")
    for path, statuses in (
        ("/api/marketing/content/" + "a" * 65_536, {431}),
        ("/api/marketing" + "/a" * 6000, {400, 404}),
    ):
        with evidence.attempt() as attempt:
            answer = send(public_door, head("GET", path, [line]))
            attempt.reached_nobody()
            assert answer.status_code in statuses
    with evidence.attempt() as attempt:
        query = "&".join(f"a{number}=1" for number in range(300))
        attempt.refused(send(public_door, head("GET", f"/api/marketing/content?{query}", [line])), 400, "query_invalid")


AGENTS = [
    *("/api/agents/orchestration", "//api/agents/orchestration", "/api//agents/orchestration", "/api/./agents/vision"),
    *("/api/marketing/../agents/vision", "/api/%61gents/vision", "/api/agents%2fvision", "/api/agents;x/vision"),
    *("/api/marketing/%2e%2e/agents/vision", "/api\\agents\\vision", "/api/platform/health/../../agents/vision"),
    *("/API/AGENTS/vision", "/api/agents", "/api/agents/", "https://agents-gateway/api/agents/vision"),
]


@pytest.mark.attack("A35")
@pytest.mark.requirement("R2", "R64")
@pytest.mark.parametrize("path", AGENTS)
@pytest.mark.parametrize("host", ["127.0.0.1", "agents-gateway", "internal.waooaw.ai", "127.0.0.1:8444"])
def test_no_agent_is_reached_from_outside(
    path: str, host: str, evidence: Evidence, public_door: Door, stack: Stack, tokens: Tokens, fresh: Fresh
) -> None:
    secret = (stack.state_dir / "secrets" / "agents" / "vision").read_text(encoding="utf-8").split()[0]
    signed = sign("GET", f"https://{host}/api/agents/vision", b"", "vision", secret)
    door = Door(public_door.url, public_door.ca_file, address="127.0.0.2", name=host.partition(":")[0])
    lines = [*signed.items(), ("Authorization", f"Bearer {tokens.admin(fresh)}")]
    with evidence.attempt(signed["signature"]) as attempt:
        answer = send(door, head("GET", path, lines, host=host))
        attempt.refused_by_envoy(answer, NOBODYS)
