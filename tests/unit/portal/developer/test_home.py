"""The overview: what ends soon and what happened, also while usage is away."""

from collections.abc import Callable

import pytest

from records.api_keys import ApiKeys
from records.database import Database
from tests.unit.portal.developer.conftest import Clock
from tests.unit.portal.developer.test_limits import words
from tests.unit.portal.developer.traffic import request, tell
from tests.unit.portal.developer.world import Browser


async def test_strangers_are_told_what_the_portal_is_for(browser: Browser) -> None:
    page = (await browser.get("/portal")).text
    assert "/portal/sign-in" in page
    assert "/portal/keys" not in page


async def test_a_newcomer_is_shown_the_way_to_a_first_call(browser: Browser) -> None:
    await browser.sign_in()
    page = words((await browser.get("/portal")).text)
    assert "Your first call" in page
    assert "Live keys 0" in page


async def test_the_last_day_is_shown_in_figures(browser: Browser, database: Database, clock: Clock) -> None:
    await tell(database, *(request(clock.now - 5, status=status) for status in (200, 200, 200, 403)))
    await browser.sign_in()
    page = words((await browser.get("/portal")).text)
    assert "Requests in 24 hours 4" in page
    assert "Not good 25.0 %" in page


@pytest.mark.requirement("R96")
async def test_a_key_that_ends_soon_is_told_of_to_its_owner_alone(
    open_browser: Callable[[], Browser], database: Database, clock: Clock
) -> None:
    owner, other = open_browser(), open_browser()
    await owner.sign_in()
    await owner.post("/portal/keys", {"name": "nightly", "scope": ["marketing:read"], "expires_in_days": "10"})
    await other.sign_in("user_free")
    assert "The key nightly ends on" in words((await owner.get("/portal")).text)
    assert "nightly" not in (await other.get("/portal")).text
    (key,) = await ApiKeys(database).list("person-user_12345")
    await owner.post(f"/portal/keys/{key.key_id}/rotate", {"overlap_hours": "24"})
    assert "nightly" not in (await owner.get("/portal")).text


async def test_usage_that_is_away_takes_nothing_else_along(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise OSError

    await browser.sign_in()
    monkeypatch.setattr("apibank.developer.telemetry.usage_of_caller", away)
    assert "away for the moment" in (await browser.get("/portal")).text
    assert (await browser.get("/portal/usage")).status_code == 503
