"""Signing in to the portal: by code and PKCE alone, for whoever asked, and out again at once."""

from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from apibank.issuer.realms import CUSTOMER
from policy.access import Issuer as TrustedIssuer
from portal.developer.browser import SESSION_COOKIE
from portal.developer.sign_in import PENDING_COOKIE
from records.database import Database
from records.portal_sessions import IDLE_SECONDS, LONGEST_SECONDS
from records.revocations import NewRevocation, TokenRevocations
from tests.support.issuer_client import BASE
from tests.unit.portal.developer.conftest import Clock
from tests.unit.portal.developer.world import Browser

MakeBrowser = Callable[[], Browser]


async def test_the_portal_asks_for_a_code_with_pkce_a_state_and_a_nonce(browser: Browser) -> None:
    asked = await browser.begin()
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{BASE}/portal/callback"
    assert "openid" in asked["scope"].split()
    again = await browser.begin()
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) >= 43
        assert asked[name] != again[name]


async def test_whoever_signs_in_sees_who_they_are(browser: Browser) -> None:
    back = await browser.sign_in("user_enterprise")
    assert (back.status_code, back.headers["location"]) == (303, "/portal")
    page = (await browser.get("/portal")).text
    for fact in ("Esha, enterprise customer", "user_enterprise", "acme", "enterprise", "marketing:*"):
        assert fact in page


async def test_the_session_is_a_cookie_of_this_host_that_no_script_reads(browser: Browser) -> None:
    back = await browser.sign_in()
    (line,) = [one for one in back.headers.get_list("set-cookie") if one.startswith(SESSION_COOKIE)]
    parts = {part.strip().lower() for part in line.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
    assert not any(part.startswith("domain") for part in parts)


async def test_a_page_is_shown_after_signing_in_to_whoever_asked_for_it(browser: Browser) -> None:
    asked = await browser.http.get("/portal/requests-of?status=4&x=a%2Fb")
    assert asked.status_code == 404
    back = await browser.sign_in(path="/portal/sign-in?next=%2Fportal%2Fkeys%3Fstatus%3D4")
    assert back.headers["location"] == "/portal/keys?status=4"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example/",
        "//evil.example/portal",
        "/portal/../../evil",
        "/portal//evil.example",
        "/portal/\\evil.example",
        "\\\\evil.example",
        "/portal%0d%0aset-cookie:a=b",
        "/portal\r\nset-cookie: a=b",
        "/portal@evil.example",
        "/portalevil",
        "javascript:alert(1)",
        "/api/docs",
        "/portal/sign-in",
        "/portal/callback",
        "/portal/sign-out",
        "",
    ],
)
async def test_signing_in_leads_nowhere_else(browser: Browser, elsewhere: str) -> None:
    answer = await browser.http.get("/portal/sign-in", params={"next": elsewhere})
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    back = await browser.http.get(await browser.at_issuer(asked, "user_12345"))
    assert (back.status_code, back.headers["location"]) == (303, "/portal")


async def test_a_browser_that_did_not_ask_is_not_signed_in(open_browser: MakeBrowser) -> None:
    attacker, victim = open_browser(), open_browser()
    # The attacker's own code, in a link for the victim.
    link = await attacker.at_issuer(await attacker.begin(), "user_free")
    assert (await victim.http.get(link)).status_code == 400
    await victim.begin()
    assert (await victim.http.get(link)).status_code == 400
    assert victim.session is None


async def test_an_answer_is_good_once(browser: Browser) -> None:
    link = await browser.at_issuer(await browser.begin(), "user_12345")
    kept = browser.pending
    assert kept is not None
    assert (await browser.http.get(link)).status_code == 303
    assert browser.pending is None
    assert (await browser.http.get(link)).status_code == 400
    browser.http.cookies.set(PENDING_COOKIE, kept)
    assert (await browser.http.get(link)).status_code == 403


@pytest.mark.parametrize("change", ["state", "code", "error", "twice"])
async def test_an_answer_that_was_changed_signs_nobody_in(browser: Browser, change: str) -> None:
    link = await browser.at_issuer(await browser.begin(), "user_12345")
    changed = {
        "state": link.replace("state=", "state=x"),
        "code": link.replace("code=", "code=x"),
        "error": link + "&error=access_denied",
        "twice": link + "&state=" + parse_qs(urlsplit(link).query)["state"][0],
    }[change]
    answer = await browser.http.get(changed)
    assert answer.status_code in {400, 403}
    assert browser.session is None


async def test_what_the_browser_keeps_cannot_be_made_or_changed_by_it(browser: Browser) -> None:
    link = await browser.at_issuer(await browser.begin(), "user_12345")
    kept = browser.pending
    assert kept is not None
    browser.http.cookies.set(PENDING_COOKIE, kept[:-2] + ("aa" if kept[-2:] != "aa" else "bb"))
    assert (await browser.http.get(link)).status_code == 400
    assert browser.session is None


async def test_whoever_goes_back_without_an_account_is_told_so(browser: Browser) -> None:
    back = await browser.http.get(await browser.at_issuer(await browser.begin(), ""))
    assert back.status_code == 403
    assert "You are not signed in" in back.text


async def test_an_issuer_that_the_central_gateway_does_not_admit_signs_nobody_in(
    browser: Browser, trusted: list[TrustedIssuer]
) -> None:
    link = await browser.at_issuer(await browser.begin(), "user_12345")
    trusted.clear()
    assert (await browser.http.get(link)).status_code == 403


async def test_a_token_for_another_audience_signs_nobody_in(browser: Browser, trusted: list[TrustedIssuer]) -> None:
    trusted[:] = [trusted[0].model_copy(update={"audience": "https://other.example"})]
    assert (await browser.sign_in()).status_code == 403
    assert CUSTOMER.audience != "https://other.example"


async def test_an_issuer_that_is_away_is_said_to_be_away(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await browser.at_issuer(await browser.begin(), "user_12345")

    async def away(*_: object, **__: object) -> None:
        raise httpx2.ConnectError("refused")

    monkeypatch.setattr(browser.issuer.http, "request", away)
    answer = await browser.http.get(link)
    assert answer.status_code == 503
    assert browser.session is None


async def test_a_session_ends_by_itself(browser: Browser, clock: Clock) -> None:
    await browser.sign_in()
    clock.now += IDLE_SECONDS - 1
    assert "Sign out" in (await browser.get("/portal")).text
    clock.now += IDLE_SECONDS + 61
    assert "Sign out" not in (await browser.get("/portal")).text


async def test_a_session_does_not_last_longer_for_being_used(browser: Browser, clock: Clock) -> None:
    await browser.sign_in()
    for _ in range(int(LONGEST_SECONDS / IDLE_SECONDS) * 2):
        assert "Sign out" in (await browser.get("/portal")).text
        clock.now += IDLE_SECONDS / 2
    assert "Sign out" not in (await browser.get("/portal")).text


async def test_whoever_signs_out_is_out_also_with_the_cookie_of_before(browser: Browser) -> None:
    await browser.sign_in()
    held = browser.session
    assert held is not None
    answer = await browser.post("/portal/sign-out")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal")
    assert browser.session is None
    browser.http.cookies.set(SESSION_COOKIE, held)
    assert "Sign out" not in (await browser.get("/portal")).text


async def test_signing_in_makes_a_new_session_and_ends_the_one_before(browser: Browser) -> None:
    await browser.sign_in()
    before = browser.session
    await browser.sign_in("user_free")
    assert before is not None
    assert browser.session != before
    browser.http.cookies.clear()
    browser.http.cookies.set(SESSION_COOKIE, before)
    assert "Sign out" not in (await browser.get("/portal")).text


async def test_a_session_that_somebody_else_planted_is_not_believed(open_browser: MakeBrowser) -> None:
    attacker, victim = open_browser(), open_browser()
    await attacker.sign_in("user_free")
    await victim.sign_in()
    both = f"{SESSION_COOKIE}={victim.session}; {SESSION_COOKIE}={attacker.session}"
    victim.http.cookies.clear()
    assert "Sign out" not in (await victim.http.get("/portal", headers={"cookie": both})).text


@pytest.mark.parametrize(("subject", "is_out"), [("user_12345", True), ("user_free", False)])
async def test_whose_tokens_are_revoked_is_out_at_the_next_page(
    browser: Browser, database: Database, clock: Clock, subject: str, is_out: bool
) -> None:
    await browser.sign_in("user_12345")
    now = clock.moment()
    until = now + timedelta(hours=1)
    new = NewRevocation(CUSTOMER.issuer, None, subject, now + timedelta(seconds=1), until, "left", "ops")
    await TokenRevocations(database).revoke(new, now=now)
    page = await browser.get("/portal/keys")
    assert (page.status_code == 303) is is_out


async def test_who_has_a_role_no_longer_admitted_is_out_at_the_next_page(browser: Browser, admitted: set[str]) -> None:
    await browser.sign_in("user_12345")
    assert (await browser.get("/portal/keys")).status_code == 200
    admitted.discard("customer")
    assert (await browser.get("/portal/keys")).status_code == 303


async def test_signing_out_needs_a_form_of_the_portals_own(browser: Browser) -> None:
    await browser.sign_in()
    for headers in ({"origin": "https://evil.example"}, {}):
        answer = await browser.http.post("/portal/sign-out", data={"csrf_token": "x"}, headers=headers)
        assert answer.status_code == 403
    answer = await browser.http.post("/portal/sign-out", data={"csrf_token": "x"}, headers={"origin": BASE})
    assert answer.status_code == 403
    assert (await browser.get("/portal/keys")).status_code == 200
