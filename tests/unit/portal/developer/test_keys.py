"""Keys in the portal: made by whoever may, shown once, and out of everybody else's reach."""

import hashlib
import re
from collections.abc import Callable

import pytest
from sqlalchemy import text

from portal.developer.keys import MOST_LIVE
from records.api_keys import ApiKey, ApiKeys
from records.audit_log import AuditLog, AuditQuery
from records.database import Database
from tests.unit.portal.developer.conftest import Clock
from tests.unit.portal.developer.world import Browser, tags

MakeBrowser = Callable[[], Browser]
NEW = {"name": "nightly batch", "scope": ["marketing:read"], "expires_in_days": "30"}
XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


async def keys_of(database: Database, partner: str) -> list[ApiKey]:
    return list(await ApiKeys(database).list(partner))


async def make(browser: Browser, **changes: object) -> str:
    """Make a key; its text."""
    answer = await browser.post("/portal/keys", {**NEW, **changes})
    assert answer.status_code == 201, answer.text
    found = re.search(r"waw_live_sk_[0-9A-Za-z]{20}", answer.text)
    assert found is not None
    return found[0]


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_comes_back(browser: Browser) -> None:
    answer = await browser.get("/portal/keys")
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal/sign-in?next=%2Fportal%2Fkeys")
    assert (await browser.sign_in(path=answer.headers["location"])).headers["location"] == "/portal/keys"


@pytest.mark.requirement("R93", "R94", "R116")
async def test_a_key_is_made_and_shown_once(browser: Browser, database: Database, clock: Clock) -> None:
    await browser.sign_in()
    assert "There are no keys yet" in (await browser.get("/portal/keys")).text
    made = await make(browser)
    (key,) = await keys_of(database, "person-user_12345")
    assert key.name == "nightly batch"
    assert key.tier == "business"
    assert key.scopes == {"partner:person-user_12345:marketing:read"}
    assert (key.expires_at - clock.moment()).days == 30
    listed = (await browser.get("/portal/keys")).text
    assert "nightly batch" in listed
    assert made not in listed
    assert made not in (await browser.get(f"/portal/keys/{key.key_id}")).text
    async with database.reading() as session:
        rows = str((await session.execute(text("SELECT * FROM api_keys"))).all())
        audit = str((await session.execute(text("SELECT * FROM admin_audit_logs"))).all())
    assert made not in rows + audit
    assert hashlib.sha256(made.encode()).hexdigest() in rows


async def test_colleagues_share_the_keys_of_their_organization(open_browser: MakeBrowser, database: Database) -> None:
    esha = open_browser()
    await esha.sign_in("user_enterprise")
    await make(esha)
    (key,) = await keys_of(database, "acme")
    assert key.tier == "enterprise"
    assert key.scopes == {"partner:acme:marketing:read"}


@pytest.mark.parametrize("way", ["", "/rotate", "/revoke"])
async def test_nobody_reaches_the_key_of_somebody_else(open_browser: MakeBrowser, database: Database, way: str) -> None:
    owner, other = open_browser(), open_browser()
    await owner.sign_in()
    await other.sign_in("user_enterprise")
    await make(owner)
    (key,) = before = await keys_of(database, "person-user_12345")
    assert key.key_id not in (await other.get("/portal/keys")).text
    path = f"/portal/keys/{key.key_id}{way}"
    theirs = await (other.post(path) if way else other.get(path))
    nobodys = await (other.post(f"/portal/keys/k_0{way}") if way else other.get("/portal/keys/k_0"))
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text == nobodys.text
    assert await keys_of(database, "person-user_12345") == before


@pytest.mark.parametrize(
    "more",
    [
        {"partner": "acme"},
        {"tier": "enterprise"},
        {"tenant": "acme"},
        {"created_by": "somebody"},
        {"key_id": "k_1"},
        {"expires_at": "2099-01-01"},
        {"scopes": "partner:acme:marketing:*"},
    ],
)
async def test_a_form_decides_nothing_but_what_is_in_it(
    browser: Browser, database: Database, more: dict[str, str]
) -> None:
    await browser.sign_in()
    answer = await browser.post("/portal/keys", {**NEW, **more})
    assert answer.status_code == 422
    assert await keys_of(database, "person-user_12345") == []


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "", "at least 1"),
        ("name", "x" * 65, "at most 64"),
        ("name", "a\x00b", "pattern"),
        ("scope", ["sales:read"], "You may not give away sales:read"),
        ("scope", ["marketing:*"], "You may not give away"),
        ("scope", ["platform:write"], "You may not give away"),
        ("scope", ["partner:acme:marketing:read"], "You may not give away"),
        ("scope", [], "required"),
        ("expires_in_days", "0", "greater than or equal to 1"),
        ("expires_in_days", "91", "less than or equal to 90"),
        ("expires_in_days", "soon", "integer"),
        ("networks", "10.0.0.0/8 everywhere", "everywhere is no address"),
    ],
)
async def test_a_form_that_cannot_be_taken_says_where_and_why(
    browser: Browser, database: Database, field: str, value: object, words: str
) -> None:
    await browser.sign_in()
    answer = await browser.post("/portal/keys", {**NEW, field: value})
    assert answer.status_code == 422
    assert words in answer.text
    marked = [attributes for _, attributes in tags(answer.text) if attributes.get("aria-invalid") == "true"]
    assert {one["name"] for one in marked} == {field}
    assert all(f"{field}-fault" in (one["aria-describedby"] or "") for one in marked)
    assert await keys_of(database, "person-user_12345") == []


async def test_a_student_is_offered_what_a_student_may_do_and_partners_can(browser: Browser) -> None:
    await browser.sign_in("company_1")
    offers = {a["value"] for _, a in tags((await browser.get("/portal/keys")).text) if a.get("name") == "scope"}
    assert offers == {"sales:read", "sales:write"}


async def test_a_name_is_shown_as_it_is_and_runs_nowhere(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    await make(browser, name=XSS)
    (key,) = await keys_of(database, "person-user_12345")
    faulty = await browser.post("/portal/keys", {**NEW, "name": XSS, "expires_in_days": XSS, "networks": XSS})
    pages = [(await browser.get(path)).text for path in ("/portal/keys", f"/portal/keys/{key.key_id}")]
    for page in (faulty.text, *pages):
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
        assert not [a for tag, a in tags(page) if tag == "img" or "onerror" in a]


@pytest.mark.requirement("R96", "R116")
async def test_a_key_is_rotated_and_the_old_one_ends_when_it_was_said_to(
    browser: Browser, database: Database, clock: Clock
) -> None:
    await browser.sign_in()
    old_text = await make(browser)
    (old,) = await keys_of(database, "person-user_12345")
    clock.now += 60
    answer = await browser.post(f"/portal/keys/{old.key_id}/rotate", {"overlap_hours": "24", "why": "a colleague left"})
    assert answer.status_code == 201
    new_text = re.search(r"waw_live_sk_[0-9A-Za-z]{20}", answer.text)
    assert new_text is not None
    assert new_text[0] != old_text
    before, after = await keys_of(database, "person-user_12345")
    assert before.replaced_by == after.key_id
    assert (before.expires_at - clock.moment()).total_seconds() == pytest.approx(24 * 3600)
    assert (after.scopes, after.name) == (before.scopes, before.name)
    page = (await browser.get(f"/portal/keys/{old.key_id}")).text
    assert "being replaced" in page
    assert "Rotate the key" not in page
    again = await browser.post(f"/portal/keys/{old.key_id}/rotate", {"overlap_hours": "1"})
    assert again.status_code == 409
    assert len(await keys_of(database, "person-user_12345")) == 2


@pytest.mark.requirement("R116")
async def test_a_key_is_revoked_for_good(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    await make(browser)
    (key,) = await keys_of(database, "person-user_12345")
    answer = await browser.post(f"/portal/keys/{key.key_id}/revoke", {"why": "found in a repository"})
    assert answer.status_code == 200
    assert "revoked" in answer.text
    (gone,) = await keys_of(database, "person-user_12345")
    assert gone.revoked_at is not None
    assert "Revoke the key" not in (await browser.get(f"/portal/keys/{key.key_id}")).text


async def test_every_change_is_written_down_with_who_and_why(browser: Browser, database: Database) -> None:
    await browser.sign_in()
    await make(browser)
    (key,) = await keys_of(database, "person-user_12345")
    await browser.post(f"/portal/keys/{key.key_id}/revoke", {"why": "found in a repository"})
    rows = [one.entry for one in await AuditLog(database).find(AuditQuery(gateway="portal"))]
    told = [(one.endpoint, one.outcome, one.reason, one.credential_id) for one in reversed(rows)]
    assert told == [
        ("/portal/keys/create", "initiated", "nightly batch", ""),
        ("/portal/keys/create", "done", "nightly batch", ""),
        ("/portal/keys/revoke", "initiated", "found in a repository", key.key_id),
        ("/portal/keys/revoke", "done", "found in a repository", key.key_id),
    ]
    assert len({one.principal for one in rows}) == 1
    assert rows[0].principal.startswith("sub:")
    assert "user_12345" not in rows[0].principal


async def test_nothing_changes_that_cannot_be_written_down(
    browser: Browser, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object) -> None:
        raise OSError

    await browser.sign_in()
    monkeypatch.setattr(AuditLog, "write", away)
    answer = await browser.post("/portal/keys", NEW)
    assert answer.status_code == 503
    assert await keys_of(database, "person-user_12345") == []


async def test_a_gateway_that_is_late_is_named_and_the_key_is_not_lost(
    browser: Browser, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apibank.developer.keys._IN_FORCE_SECONDS", 0.0)
    async with database.writing() as session:
        late = "INSERT INTO fact_applied VALUES ('sales-1', 'api_keys', 'sales', 0, (julianday('now')-2440587.5)*86400)"
        await session.execute(text(late))
    await browser.sign_in()
    answer = await browser.post("/portal/keys", NEW)
    assert answer.status_code == 201
    assert "sales-1" in answer.text
    assert "waw_live_sk_" in answer.text


async def test_there_are_only_so_many_keys(browser: Browser, database: Database, clock: Clock) -> None:
    await browser.sign_in()
    for _ in range(MOST_LIVE):
        await ApiKeys(database).create(
            "person-user_12345", ["partner:person-user_12345:marketing:read"], now=clock.moment()
        )
    assert (await browser.post("/portal/keys", NEW)).status_code == 409
    assert len(await keys_of(database, "person-user_12345")) == MOST_LIVE
