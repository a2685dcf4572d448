"""The development issuer over HTTP: every grant, and what it refuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import jwt
import pytest

from apibank.issuer.application import issuer_application, issuer_listeners
from apibank.issuer.clients import APP, PORTAL, SERVICE, known_clients, load_client_secrets
from apibank.issuer.keys import KeyStore
from apibank.issuer.mint import mint
from apibank.issuer.realms import ADMIN, CUSTOMER
from apibank.issuer.refresh import COOKIE
from tests.support.issuer_client import APP_CALLBACK, BASE, CHALLENGE, OWN, VERIFIER, Issuer, issuer_of


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(params=["customer"])
async def issuer(request: pytest.FixtureRequest, state_dir: Path) -> AsyncIterator[Issuer]:
    async with issuer_of(request.param, state_dir) as one:
        yield one


@pytest.mark.requirement("R86")
async def test_a_person_who_signs_in_gets_a_token_with_every_claim(issuer: Issuer) -> None:
    response = await issuer.redeem(await issuer.code("user_enterprise"))
    body = response.json()
    claims = await issuer.claims(body["access_token"])
    assert body["token_type"] == "Bearer"
    assert body["expires_in"] == 3600
    assert response.headers["cache-control"] == "no-store"
    assert claims.pop("jti")
    assert claims == {
        "iss": CUSTOMER.issuer,
        "aud": CUSTOMER.audience,
        "sub": "user_enterprise",
        "client_id": APP,
        "email": "user_enterprise@example.com",
        "role": "customer",
        "tier": "enterprise",
        "tenant_id": "acme",
        "scopes": ["marketing:*"],
        "iat": int(issuer.clock.now),
        "exp": int(issuer.clock.now) + 3600,
    }
    assert jwt.get_unverified_header(body["access_token"])["typ"] == "at+jwt"


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("marketing:read", ["marketing:read"]),
        ("marketing:write marketing:read", ["marketing:write", "marketing:read"]),
        ("sales:read", []),
        ("openid", ["marketing:*"]),
        ("", ["marketing:*"]),
    ],
)
async def test_nobody_gets_a_scope_that_they_do_not_hold(issuer: Issuer, asked: str, granted: list[str]) -> None:
    body = (await issuer.redeem(await issuer.code(scope=asked))).json()
    assert (await issuer.claims(body["access_token"]))["scopes"] == granted


async def test_a_scope_that_the_issuer_does_not_know_is_refused_at_the_client(issuer: Issuer) -> None:
    response = await issuer.authorize(scope="platform:*")
    assert parse_qs(urlsplit(response.headers["location"]).query)["error"] == ["invalid_scope"]


async def test_the_sign_in_page_offers_the_accounts_and_runs_no_script(issuer: Issuer) -> None:
    query = {
        "response_type": "code",
        "client_id": APP,
        "redirect_uri": APP_CALLBACK,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    page = await issuer.http.get("/api/auth/authorize", params=query)
    assert page.status_code == 200
    assert all(f'value="{person.subject}"' in page.text for person in CUSTOMER.people)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "<script" not in page.text


async def test_state_comes_back_with_the_code_and_a_refusal_is_told(issuer: Issuer) -> None:
    granted = parse_qs(urlsplit((await issuer.authorize()).headers["location"]).query)
    refused = parse_qs(urlsplit((await issuer.authorize(account="")).headers["location"]).query)
    assert granted["state"] == refused["state"] == ["s1"]
    assert refused["error"] == ["access_denied"]
    assert "code" not in refused


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": ""},
        {"code_challenge_method": "plain", "code_challenge": VERIFIER},
        {"code_challenge_method": ""},
        {"response_type": "token"},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "https://app.waooaw.ai/callback/../evil"},
        {"redirect_uri": "http://127.0.0.1:9/other"},
        {"redirect_uri": ""},
        {"client_id": "unknown"},
        {"client_id": SERVICE},
    ],
)
async def test_an_authorization_request_that_is_not_good_gets_no_code(issuer: Issuer, changes: dict[str, str]) -> None:
    response = await issuer.authorize(**changes)
    location = response.headers.get("location", "")
    assert response.status_code in {302, 400, 401}
    assert "code=" not in location
    assert "evil" not in location


async def test_a_parameter_given_twice_is_refused(issuer: Issuer) -> None:
    response = await issuer.http.get("/api/auth/authorize?client_id=waooaw-app&client_id=waooaw-portal")
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"


async def test_a_native_app_may_use_any_port_of_loopback(issuer: Issuer) -> None:
    redirect = "http://127.0.0.1:49152/callback"
    code = await issuer.code(redirect=redirect)
    assert (await issuer.redeem(code, redirect_uri=redirect)).status_code == 200


async def test_an_account_that_does_not_exist_and_another_sites_form_get_no_code(issuer: Issuer) -> None:
    assert (await issuer.authorize("somebody")).status_code == 400
    issuer.http.headers["sec-fetch-site"] = "cross-site"
    assert (await issuer.authorize()).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "b" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1/callback"},
        {"client_id": PORTAL},
        {"client_id": "unknown"},
        {"code": "guess"},
    ],
)
async def test_a_code_alone_is_worth_nothing(issuer: Issuer, changes: dict[str, str]) -> None:
    code = await issuer.code()
    response = await issuer.redeem(changes.pop("code", code), **changes)
    assert response.status_code in {400, 401}
    assert "access_token" not in response.json()
    assert COOKIE not in issuer.http.cookies


async def test_a_code_is_good_for_a_minute(issuer: Issuer) -> None:
    code = await issuer.code()
    issuer.clock.now += 61
    assert (await issuer.redeem(code)).json()["error"] == "invalid_grant"


async def test_a_code_used_twice_ends_the_session_that_came_of_it(issuer: Issuer) -> None:
    code = await issuer.code()
    await issuer.redeem(code)
    cookie = issuer.take_cookie()
    assert (await issuer.redeem(code)).json()["error"] == "invalid_grant"
    assert (await issuer.refresh(cookie)).status_code == 401


async def test_a_confidential_client_gets_an_id_token_and_keeps_its_refresh_token(issuer: Issuer) -> None:
    session = await issuer.portal_session(scope="openid email marketing:read", nonce="n1")
    assert session["refresh_token"]
    assert COOKIE not in issuer.http.cookies
    identity = await issuer.claims(session["id_token"], PORTAL)
    assert (identity["sub"], identity["nonce"], identity["email"]) == ("user_12345", "n1", "user_12345@example.com")
    assert identity["iss"] == CUSTOMER.issuer
    # An ID token is no access token (RFC 9068 §2.1).
    assert jwt.get_unverified_header(session["id_token"]).get("typ") != "at+jwt"


async def test_a_service_gets_a_token_of_its_own_for_the_scopes_it_names(issuer: Issuer) -> None:
    form = {"grant_type": "client_credentials", "scope": "sales:read"}
    response = await issuer.http.post("/api/auth/token", data=form, auth=(SERVICE, issuer.secrets[SERVICE]))
    claims = await issuer.claims(response.json()["access_token"])
    assert (claims["sub"], claims["scopes"]) == (SERVICE, ["sales:read"])
    assert response.json()["expires_in"] == 3600
    assert "refresh_token" not in response.json()


@pytest.mark.parametrize("issuer", ["admin"], indirect=True)
async def test_the_admin_issuer_signs_for_administrators_alone(issuer: Issuer) -> None:
    form = {"grant_type": "client_credentials"}
    response = await issuer.http.post("/api/auth/token", data=form, auth=(SERVICE, issuer.secrets[SERVICE]))
    claims = await issuer.claims(response.json()["access_token"], ADMIN.audience)
    assert (claims["iss"], claims["role"], claims["tier"]) == (ADMIN.issuer, "admin", "internal")
    assert (await issuer.authorize("user_12345")).status_code == 400


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "client_credentials"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": SERVICE, "client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": APP}, "invalid_client"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
    ],
)
async def test_the_token_endpoint_gives_nothing_to_those_it_does_not_know(
    issuer: Issuer, form: dict[str, str], error: str
) -> None:
    response = await issuer.http.post("/api/auth/token", data=form or {"x": "y"})
    assert response.status_code in {400, 401}
    assert response.json()["error"] == error


async def test_credentials_in_the_query_do_not_count(issuer: Issuer) -> None:
    query = {"grant_type": "client_credentials", "client_id": SERVICE, "client_secret": issuer.secrets[SERVICE]}
    form = {"content-type": "application/x-www-form-urlencoded"}
    response = await issuer.http.post("/api/auth/token", params=query, headers=form)
    assert response.status_code == 400


async def test_bodies_of_other_kinds_and_endless_ones_are_refused(issuer: Issuer) -> None:
    assert (await issuer.http.post("/api/auth/token", json={})).status_code == 415
    assert (await issuer.http.post("/api/auth/token", data={"x": "y" * 70_000})).status_code == 413


async def test_discovery_names_the_issuer_its_endpoints_and_two_keys(issuer: Issuer) -> None:
    found = (await issuer.http.get("/.well-known/openid-configuration")).json()
    assert found["issuer"] == CUSTOMER.issuer
    assert found["jwks_uri"] == "http://127.0.0.1:1/.well-known/jwks.json"
    assert found["code_challenge_methods_supported"] == ["S256"]
    keys = (await issuer.http.get("/.well-known/jwks.json")).json()["keys"]
    assert len({key["kid"] for key in keys}) == 2
    assert (await issuer.http.get("/healthz")).status_code == 200


async def test_rotation_is_for_this_machine_and_changes_who_signs(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path, "customer")
    clients = known_clients(CUSTOMER, load_client_secrets(tmp_path), [BASE])
    application = issuer_application(CUSTOMER, keys, clients, "http://127.0.0.1:1", [BASE])
    before = keys.ensure()
    remote = httpx2.ASGITransport(application, client=("10.0.0.9", 1))
    async with httpx2.AsyncClient(transport=remote, base_url=BASE) as stranger:
        assert (await stranger.post("/__rotate", headers=OWN)).status_code == 403
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url=BASE) as http:
        assert (await http.post("/__rotate")).status_code == 403
        assert (await http.post("/__rotate", headers={**OWN, "origin": BASE})).status_code == 403
        assert (await http.post("/__rotate", headers={**OWN, "x-forwarded-for": "127.0.0.1"})).status_code == 403
        assert keys.load() is before
        rotated = (await http.post("/__rotate", headers=OWN)).json()
        published = [key["kid"] for key in (await http.get("/.well-known/jwks.json")).json()["keys"]]
    assert rotated["current"] == before.next.kid
    assert published == [rotated["current"], rotated["next"], before.current.kid]
    assert jwt.get_unverified_header(mint(tmp_path, "customer"))["kid"] == rotated["current"]


def test_an_issuer_that_asks_for_no_password_listens_on_loopback_alone(state_dir: Path) -> None:
    with pytest.raises(ValueError, match="no password"):
        issuer_listeners(state_dir, {"customer": 1}, [BASE], host="0.0.0.0")
    listeners = issuer_listeners(state_dir, {"customer": 1, "admin": 2}, [BASE])
    assert {(one.host, one.port) for one in listeners} == {("127.0.0.1", 1), ("127.0.0.1", 2)}
    assert issuer_listeners(state_dir, {"admin": 2}, [BASE], host="0.0.0.0", allow_remote=True)[0].port == 2


def test_client_secrets_are_kept_and_shown_by_no_repr(state_dir: Path) -> None:
    known = load_client_secrets(state_dir)
    assert load_client_secrets(state_dir) == known
    clients = known_clients(CUSTOMER, known, [BASE])
    assert known[PORTAL] not in repr(clients)
