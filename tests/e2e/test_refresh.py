"""An access token expires, and the client goes on, the whole way through central; others do not (R92, attack A76)."""

import base64
import hashlib
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from apibank.issuer.clients import APP
from apibank.issuer.refresh import COOKIE
from tests.support.client import CONTENT, Client, problem
from tests.support.stack import Stack
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
REFRESH = "/api/auth/refresh"
CALLBACK = "https://app.waooaw.ai/callback"
APP_ORIGIN = "https://app.waooaw.ai"
VERIFIER = "v" * 64


@dataclass
class Browser:
    """A page of the app: it keeps the cookie as a browser does, and never sees it."""

    stack: Stack
    client: Client
    cookie: str

    def refresh(self, *, cookie: str | None = None, **headers: str) -> httpx2.Response:
        sent = headers or {"origin": APP_ORIGIN}
        named = [(name.replace("_", "-"), value) for name, value in sent.items()]
        cookie = self.cookie if cookie is None else cookie
        return self.client.call("POST", REFRESH, headers=[("cookie", f"{COOKIE}={cookie}"), *named])

    def take(self, answer: httpx2.Response) -> str:
        """The access token of a refresh; the cookie that came with it is kept."""
        assert answer.status_code == 200, answer.text
        self.cookie = cookie_of(answer)
        token: str = answer.json()["access_token"]
        return token


def cookie_of(answer: httpx2.Response) -> str:
    """The refresh cookie that is set, which is as it has to be."""
    (line,) = answer.headers.get_list("set-cookie")
    pair, *attributes = line.split("; ")
    name, _, value = pair.partition("=")
    assert name == COOKIE
    assert {"HttpOnly", "Secure", f"Path={REFRESH}", "SameSite=strict"} <= set(attributes)
    return value


@pytest.fixture
def browser(stack: Stack, client: Client) -> Browser:
    """Signed in at the issuer: the code with its proof (PKCE), then the cookie."""
    issuer = stack.ready.issuers["customer"]
    challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code", "client_id": APP, "redirect_uri": CALLBACK, "state": "s",
        "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    agreed = httpx2.post(f"{issuer}/api/auth/authorize", params=query, data={"account": "user_12345"})
    code = parse_qs(urlsplit(agreed.headers["location"]).query)["code"][0]
    form = {
        "grant_type": "authorization_code", "code": code, "client_id": APP, "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }  # fmt: skip
    signed_in = httpx2.post(f"{issuer}/api/auth/token", data=form)
    assert "refresh_token" not in signed_in.json()
    return Browser(stack, client, cookie_of(signed_in))


@pytest.mark.requirement("R92")
def test_an_expired_token_leads_to_a_refresh_and_the_same_request_succeeds(
    browser: Browser, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    expired = tokens.of("marketing", fresh, sub="user_12345", exp=1_700_000_000, iat=1_699_999_000)
    first = client.call("POST", PATH, token=expired, json=CONTENT)
    assert (first.status_code, problem(first)["code"]) == (401, "token_expired")
    challenge = first.headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    assert 'error_description="The access token expired"' in challenge
    token = browser.take(browser.refresh())
    again = client.call("POST", PATH, token=token, json=CONTENT)
    assert again.status_code == 200, again.text
    assert again.json()["headers"]["x-waooaw-subject"] == "user_12345"
    # And the next time.
    assert client.call("GET", PATH, token=browser.take(browser.refresh())).status_code == 200


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92", "R105")
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "https://app.waooaw.ai.evil.example.com"},
        {"origin": "http://app.waooaw.ai"},
        {"origin": APP_ORIGIN, "sec_fetch_site": "cross-site"},
        {"content_type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
def test_a_foreign_pages_post_refreshes_nothing(headers: dict[str, str], browser: Browser) -> None:
    answer = browser.refresh(**headers)
    assert (answer.status_code, problem(answer)["code"]) == (403, "cross_site_request")
    assert "set-cookie" not in answer.headers
    assert "evil" not in answer.headers.get("access-control-allow-origin", "")
    # The cookie was not spent by it.
    assert browser.refresh().status_code == 200


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
def test_what_is_no_refresh_token_refreshes_nothing(
    browser: Browser, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    access = tokens.of("marketing", fresh, sub="user_12345")
    for wrong in (access, "garbage", browser.cookie[:-1], browser.cookie.upper()):
        answer = browser.refresh(cookie=wrong)
        assert (answer.status_code, problem(answer)["code"]) == (401, "refresh_token_invalid")
        assert wrong not in answer.text
    bearer = client.call("POST", REFRESH, token=access, headers={"origin": APP_ORIGIN})
    assert (bearer.status_code, problem(bearer)["code"]) == (401, "refresh_token_missing")
    both = client.call(
        "POST", REFRESH, headers=[("cookie", f"{COOKIE}={browser.cookie}; {COOKIE}=planted"), ("origin", APP_ORIGIN)]
    )
    assert both.status_code == 401
    assert client.call("GET", REFRESH, headers={"cookie": f"{COOKIE}={browser.cookie}"}).status_code == 405


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
def test_a_refresh_token_that_is_used_twice_ends_what_came_of_it(browser: Browser) -> None:
    stolen = browser.cookie
    token = browser.take(browser.refresh())
    assert token
    assert browser.refresh(cookie=stolen).status_code == 401
    # Whoever has the other one, thief or owner, signs in again.
    answer = browser.refresh()
    assert (answer.status_code, problem(answer)["code"]) == (401, "refresh_token_invalid")
    assert "Max-Age=0" in answer.headers["set-cookie"]


@pytest.mark.attack("A76")
@pytest.mark.requirement("R92")
def test_a_refresh_token_is_no_access_token_and_reaches_no_service(
    browser: Browser, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    before = client.hits("marketing")
    cookie = {"cookie": f"{COOKIE}={browser.cookie}; theme=dark"}
    assert problem(client.call("GET", PATH, headers=cookie))["code"] == "token_missing"
    assert problem(client.call("GET", PATH, token=browser.cookie))["code"] == "token_invalid"
    assert client.hits("marketing") == before
    answer = client.call("GET", PATH, token=tokens.of("marketing", fresh), headers=cookie)
    assert answer.status_code == 200
    assert "cookie" not in answer.json()["headers"]
    assert browser.cookie not in answer.text
