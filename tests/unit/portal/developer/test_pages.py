"""Every page of the portal: nothing runs in it but files from here, nobody frames it, no form comes from elsewhere."""

from collections.abc import Callable

import pytest

from portal.developer.person import Person, person_told
from tests.unit.portal.developer.world import OWN, Browser, tags

PAGES = [
    "/portal",
    "/portal/keys",
    "/portal/limits",
    "/portal/samples",
    "/portal/usage",
    "/portal/requests",
    "/portal/errors",
    "/portal/errors/body_invalid",
]
STATE_CHANGING = [
    "/portal/sign-out",
    "/portal/keys",
    "/portal/keys/k_1/rotate",
    "/portal/keys/k_1/revoke",
    "/portal/webhooks",
    "/portal/webhooks/w/test",
    "/portal/webhooks/w/remove",
    "/portal/webhooks/w/deliveries/d",
]


@pytest.mark.parametrize("signed_in", [False, True])
@pytest.mark.parametrize("path", [*PAGES, "/portal/nothing"])
async def test_a_page_may_run_and_load_only_what_is_here(browser: Browser, path: str, signed_in: bool) -> None:
    if signed_in:
        await browser.sign_in()
    page = await browser.get(path)
    while page.status_code == 303 and page.headers["location"].startswith("/portal") and not signed_in:
        page = await browser.get("/portal")
    rules = dict(rule.split(" ", 1) for rule in page.headers["content-security-policy"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["form-action"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    for tag, attributes in tags(page.text):
        assert "style" not in attributes, (tag, attributes)
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
        assert tag != "style"
        for name in ("src", "href", "action"):
            assert (attributes.get(name) or "/").startswith(("/", "#")), (tag, attributes)
            assert not (attributes.get(name) or "/").startswith("//"), (tag, attributes)
        if tag == "script":
            assert attributes["src"]


async def test_every_file_that_a_page_loads_is_there(browser: Browser) -> None:
    for tag, attributes in tags((await browser.get("/portal")).text):
        address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if address:
            found = await browser.get(address)
            assert found.status_code == 200, address
            assert "immutable" in found.headers["cache-control"]


@pytest.mark.parametrize("name", ["../site.py", "..%2fsite.py", "site.py", "%2e%2e/pages.py", "base.html"])
async def test_only_named_files_are_served(browser: Browser, name: str) -> None:
    assert (await browser.get(f"/portal/assets/{name}")).status_code == 404


@pytest.mark.parametrize("path", STATE_CHANGING)
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:10443.evil.example"},
        {"origin": "https://waooaw.ai"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_form_of_another_site_changes_nothing(browser: Browser, path: str, headers: dict[str, str]) -> None:
    await browser.sign_in()
    token = await browser.token()
    answer = await browser.http.post(path, data={"csrf_token": token}, headers={**OWN, **headers})
    assert answer.status_code == 403
    assert "Sign out" in (await browser.get("/portal")).text


@pytest.mark.parametrize("path", STATE_CHANGING)
async def test_a_form_without_an_origin_changes_nothing(browser: Browser, path: str) -> None:
    await browser.sign_in()
    answer = await browser.http.post(path, data={"csrf_token": await browser.token()})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", STATE_CHANGING)
async def test_a_form_needs_the_token_of_its_own_session(open_browser: Callable[[], Browser], path: str) -> None:
    one, other = open_browser(), open_browser()
    await one.sign_in()
    await other.sign_in()
    for token in ("", "0" * 64, await other.token()):
        assert (await one.post(path, token=token)).status_code == 403
    doubled = await one.http.post(path, data={"csrf_token": [await one.token()] * 2}, headers=OWN)
    assert doubled.status_code == 403


@pytest.mark.parametrize(
    ("content", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("text/plain", b"csrf_token=x", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 20_000, 413),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(200)), 400),
        ("application/x-www-form-urlencoded", b"a=%ff", 400),
        ("application/x-www-form-urlencoded", b"a=\xff", 400),
    ],
)
async def test_what_is_no_form_is_refused(browser: Browser, content: str, body: bytes, status: int) -> None:
    await browser.sign_in()
    answer = await browser.http.post("/portal/sign-out", content=body, headers={**OWN, "content-type": content})
    assert answer.status_code == status


def person(subject: str, tenant: str | None = None) -> Person:
    return Person(subject, "Ann", "customer", "free", ("marketing:*",), tenant)


def test_nobody_has_the_partner_of_somebody_else() -> None:
    people = [
        person("acme"),
        person("ann", "acme"),
        person("person-acme"),
        person("auth0|acme"),
        person("AUTH0|acme"),
        person("x" * 200),
        person("ann", "person-acme"),
        person("ann", "person_x"),
        person("ann", "Ac me"),
    ]
    partners = [one.partner for one in people]
    assert partners[1] == "acme"
    # A tenant that is called as if it were a person has no keys.
    assert partners[-3:] == [None, None, None]
    assert len(set(partners[:-3])) == len(partners) - 3


def test_what_a_session_tells_of_a_person_is_read_as_it_was_written() -> None:
    for one in (person("ann"), person("ann", "acme")):
        assert person_told(one.told()) == one
    for other in (None, {}, [], {"subject": "ann"}, person("").told(), {**person("ann").told(), "scopes": [1]}):
        assert person_told(other) is None


def test_scopes_cover_what_they_name() -> None:
    reader = Person("ann", "Ann", "customer", "free", ("marketing:read", "sales:*"))
    assert reader.may("marketing", "read")
    assert not reader.may("marketing", "write")
    assert reader.may("sales", "write")
    assert not reader.may("education", "read")
