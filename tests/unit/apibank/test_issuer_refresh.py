"""The refresh of access tokens: by cookie for pages, with a secret for servers, and how a session ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apibank.issuer.clients import APP, PORTAL
from apibank.issuer.mint import mint
from tests.support.issuer_client import BASE, OWN, Issuer, issuer_of


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(params=["customer"])
async def issuer(request: pytest.FixtureRequest, state_dir: Path) -> AsyncIterator[Issuer]:
    async with issuer_of(request.param, state_dir) as one:
        yield one


@pytest.mark.requirement("R92")
async def test_the_refresh_token_of_a_page_is_in_a_cookie_that_no_script_and_no_other_site_gets(
    issuer: Issuer,
) -> None:
    response = await issuer.redeem(await issuer.code())
    assert "refresh_token" not in response.json()
    attributes = {part.strip().lower() for part in response.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "secure", "samesite=strict", "path=/api/auth/refresh"} <= attributes
    assert not any(attribute.startswith("domain=") for attribute in attributes)


@pytest.mark.requirement("R92")
async def test_an_expired_access_token_is_replaced_by_the_refresh_cookie(issuer: Issuer) -> None:
    cookie = await issuer.sign_in()
    issuer.clock.now += 3601
    response = await issuer.refresh(cookie)
    assert response.status_code == 200
    assert "refresh_token" not in response.json()
    claims = await issuer.claims(response.json()["access_token"])
    assert (claims["sub"], claims["exp"]) == ("user_12345", int(issuer.clock.now) + 3600)
    assert issuer.take_cookie() != cookie


@pytest.mark.requirement("R92")
async def test_a_refresh_token_is_good_once_and_using_it_again_ends_the_session(issuer: Issuer) -> None:
    stolen = await issuer.sign_in()
    assert (await issuer.refresh(stolen)).status_code == 200
    newest = issuer.take_cookie()
    again = await issuer.refresh(stolen)
    assert again.status_code == 401
    assert again.json()["code"] == "refresh_token_invalid"
    # Whoever holds the newer one may be the thief: it is worth nothing either.
    assert (await issuer.refresh(newest)).status_code == 401


async def test_another_session_of_the_same_person_goes_on(issuer: Issuer) -> None:
    one, other = await issuer.sign_in(), await issuer.sign_in()
    await issuer.refresh(one)
    await issuer.refresh(one)
    assert (await issuer.refresh(other)).status_code == 200


async def test_a_session_ends_two_weeks_after_the_sign_in_however_often_it_was_refreshed(issuer: Issuer) -> None:
    cookie = await issuer.sign_in()
    for _ in range(3):
        issuer.clock.now += 4 * 24 * 3600
        assert (await issuer.refresh(cookie)).status_code == 200
        cookie = issuer.take_cookie()
    issuer.clock.now += 2 * 24 * 3600
    assert (await issuer.refresh(cookie)).status_code == 401


@pytest.mark.requirement("R92")
async def test_an_access_token_is_no_refresh_token(issuer: Issuer) -> None:
    access = (await issuer.redeem(await issuer.code())).json()["access_token"]
    issuer.http.cookies.clear()
    for value in (access, mint(issuer.state_dir, "customer")):
        response = await issuer.refresh(value)
        assert response.status_code == 401
        assert response.json()["code"] == "refresh_token_invalid"


async def test_a_refusal_is_a_problem_that_ends_the_cookie_and_names_the_request(issuer: Issuer) -> None:
    response = await issuer.refresh("made-up", x_requested_with="x", x_request_id="r-7")
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["request_id"] == "r-7"
    assert response.json()["type"] == "https://waooaw.ai/problems/refresh_token_invalid"
    assert "max-age=0" in response.headers["set-cookie"].lower()
    assert "made-up" not in response.text


@pytest.mark.requirement("R92")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": BASE}, 200),
        ({"origin": "https://app.waooaw.ai", "sec-fetch-site": "same-site"}, 200),
        ({"x-requested-with": "app"}, 200),
        ({"accept": "*/*"}, 403),
        ({"x-requested-with": ""}, 403),
        ({"origin": "https://evil.example", "x-requested-with": "app"}, 403),
        ({"origin": "null", "x-requested-with": "app"}, 403),
        ({"origin": "https://app.waooaw.ai.evil.example"}, 403),
        ({"sec-fetch-site": "cross-site", "x-requested-with": "app"}, 403),
    ],
)
async def test_only_our_own_pages_and_apps_refresh(issuer: Issuer, headers: dict[str, str], status: int) -> None:
    cookie = await issuer.sign_in()
    assert (await issuer.refresh(cookie, **headers)).status_code == status
    if status == 403:
        # Nothing was spent: the person's own page goes on.
        assert (await issuer.refresh(cookie)).status_code == 200


async def test_no_cookie_two_cookies_and_a_token_elsewhere_are_refused(issuer: Issuer) -> None:
    cookie = await issuer.sign_in()
    assert (await issuer.refresh()).json()["code"] == "refresh_token_missing"
    assert (await issuer.refresh(cookie, "planted")).status_code == 401
    elsewhere = await issuer.http.post("/api/auth/refresh", data={"refresh_token": cookie}, headers=OWN)
    assert elsewhere.status_code == 401
    assert (await issuer.http.get("/api/auth/refresh")).status_code == 405


async def test_a_pages_refresh_token_is_worth_nothing_at_the_token_endpoint(issuer: Issuer) -> None:
    cookie = await issuer.sign_in()
    form = {"grant_type": "refresh_token", "refresh_token": cookie, "client_id": APP}
    assert (await issuer.http.post("/api/auth/token", data=form)).status_code == 401
    assert (await issuer.portal({**form, "client_id": PORTAL})).status_code == 400


async def test_a_confidential_client_refreshes_with_its_secret_and_not_by_cookie(issuer: Issuer) -> None:
    session = await issuer.portal_session(scope="marketing:read marketing:write")
    assert (await issuer.refresh(session["refresh_token"])).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": session["refresh_token"], "scope": "marketing:read"}
    narrowed = (await issuer.portal(form)).json()
    assert (await issuer.claims(narrowed["access_token"]))["scopes"] == ["marketing:read"]
    # RFC 6749 §6: narrower this once; the session keeps what was granted.
    whole = (await issuer.portal({"grant_type": "refresh_token", "refresh_token": narrowed["refresh_token"]})).json()
    assert (await issuer.claims(whole["access_token"]))["scopes"] == ["marketing:read", "marketing:write"]


@pytest.mark.parametrize("scope", ["openid", "marketing:*", "sales:read"])
async def test_a_refresh_never_widens_a_session(issuer: Issuer, scope: str) -> None:
    session = await issuer.portal_session(scope="openid marketing:read")
    form = {"grant_type": "refresh_token", "refresh_token": session["refresh_token"], "scope": scope}
    body = (await issuer.portal(form)).json()
    granted = (await issuer.claims(body["access_token"]))["scopes"] if "access_token" in body else []
    assert granted == []


async def test_a_revoked_session_is_over_and_revoking_what_is_unknown_is_no_error(issuer: Issuer) -> None:
    session = await issuer.portal_session()
    form = {"token": session["refresh_token"], "token_type_hint": "refresh_token"}
    assert (await issuer.portal(form, "/api/auth/revoke")).status_code == 200
    refresh = {"grant_type": "refresh_token", "refresh_token": session["refresh_token"]}
    assert (await issuer.portal(refresh)).json()["error"] == "invalid_grant"
    assert (await issuer.portal({"token": "unknown"}, "/api/auth/revoke")).status_code == 200


async def test_one_client_cannot_revoke_anothers_session(issuer: Issuer) -> None:
    cookie = await issuer.sign_in()
    await issuer.portal({"token": cookie}, "/api/auth/revoke")
    assert (await issuer.refresh(cookie)).status_code == 200
