"""The refresh cookie where it does not belong, and other credentials in its place."""

import pytest

from apibank.issuer.refresh import COOKIE
from tests.support.client import Client, problem
from tests.support.evidence import Evidence
from tests.support.raw import Door, head, send
from tests.support.tokens import Fresh, Tokens

REFRESH = "/api/auth/refresh"
OURS = ("Origin", "https://app.waooaw.ai")
# Long enough to be looked for in logs.
PLANTED = "planted-refresh-token-of-the-attacker"

FOREIGN: dict[str, list[tuple[str, str]]] = {
    "A76 another site": [("Origin", "https://evil.example")],
    "A76 null": [("Origin", "null")],
    "A76 our name as a beginning": [("Origin", "https://app.waooaw.ai.evil.example")],
    "A76 our name as an end": [("Origin", "https://evil-app.waooaw.ai.example")],
    "A76 another scheme": [("Origin", "http://app.waooaw.ai")],
    "A76 another port": [("Origin", "https://app.waooaw.ai:8443")],
    "A76 capitals": [("Origin", "HTTPS://APP.WAOOAW.AI.EVIL.EXAMPLE")],
    "A76 two origins": [OURS, ("Origin", "https://evil.example")],
    "A76 a user": [("Origin", "https://app.waooaw.ai@evil.example")],
    "A76 cross-site by the browser": [OURS, ("Sec-Fetch-Site", "cross-site")],
    "A76 a form": [("Content-Type", "application/x-www-form-urlencoded")],
    "A76 text": [("Content-Type", "text/plain")],
    "A76 nothing at all": [],
}


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92", "R105")
@pytest.mark.parametrize("case", FOREIGN)
def test_a_foreign_page_refreshes_nothing(case: str, evidence: Evidence, public_door: Door) -> None:
    lines = [("Cookie", f"{COOKIE}={PLANTED}"), *FOREIGN[case], ("Content-Length", "0")]
    with evidence.attempt(PLANTED) as attempt:
        answer = send(public_door, head("POST", REFRESH, lines))
        attempt.reached_nobody()
        assert (answer.status_code, problem(answer)["code"]) == (403, "cross_site_request")  # type: ignore[arg-type]
        assert "set-cookie" not in answer.headers
        assert "evil" not in answer.headers.get("access-control-allow-origin", "")


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
def test_no_other_credential_refreshes(evidence: Evidence, public_door: Door, tokens: Tokens, fresh: Fresh) -> None:
    token = tokens.of("marketing", fresh)
    requests = {
        "an access token as the cookie": ([("Cookie", f"{COOKIE}={token}")], "refresh_token_invalid"),
        "an invented cookie": ([("Cookie", f"{COOKIE}={PLANTED}")], "refresh_token_invalid"),
        "a cookie of another name": ([("Cookie", f"refresh={PLANTED}")], "refresh_token_missing"),
        "an access token as the token": ([("Authorization", f"Bearer {token}")], "refresh_token_missing"),
    }
    for lines, code in requests.values():
        with evidence.attempt(token, PLANTED) as attempt:
            answer = send(public_door, head("POST", REFRESH, [OURS, *lines, ("Content-Length", "0")]))
            attempt.reached_nobody()
            assert (answer.status_code, problem(answer)["code"]) == (401, code)  # type: ignore[arg-type]
            assert token not in answer.text


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
@pytest.mark.parametrize("path", ["/api/marketing/content", "/api/sales/leads", "/api/platform/metrics"])
def test_a_refresh_cookie_opens_nothing_and_goes_nowhere(path: str, evidence: Evidence, internal: Client) -> None:
    with evidence.attempt(PLANTED) as attempt:
        answer = internal.call("GET", path, headers={"cookie": f"{COOKIE}={PLANTED}; access_token={PLANTED}"})
        attempt.refused(answer, 401, "token_missing")
    with evidence.attempt(PLANTED) as attempt:
        answer = internal.call("GET", path, token=PLANTED)
        attempt.refused(answer, 401, "token_invalid")


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
@pytest.mark.parametrize(
    "path", ["/api/auth/refresh/", "/api/auth/refresh/x", "/api/auth/token", "/api/auth", "/api/auth/authorize"]
)
def test_of_the_issuer_nothing_but_the_refresh_is_reached(path: str, evidence: Evidence, public_door: Door) -> None:
    with evidence.attempt() as attempt:
        answer = send(public_door, head("POST", path, [OURS, ("Content-Length", "0")]))
        attempt.refused_by_envoy(answer, {404})
