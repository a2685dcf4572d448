"""The request log in the portal: the visitor's requests and no others, however the page is asked."""

import re
from collections.abc import Callable

import pytest

from records.database import Database
from tests.unit.portal.developer.conftest import PSEUDONYM, Clock
from tests.unit.portal.developer.test_limits import words
from tests.unit.portal.developer.traffic import both_hops, request, tell
from tests.unit.portal.developer.world import Browser

XSS = "<script>alert(1)</script>"


async def names(browser: Browser, **params: str) -> list[str]:
    """The ids of the requests that a page shows."""
    answer = await browser.get("/portal/requests", **params)
    assert answer.status_code == 200
    return re.findall(r'request_id=[^"]*">(r-\d+)</a>', answer.text)


async def test_without_requests_the_page_says_so(browser: Browser) -> None:
    await browser.sign_in()
    assert "There are no requests yet." in (await browser.get("/portal/requests")).text
    assert "No request of yours is like that." in (await browser.get("/portal/requests?status=5")).text


async def test_the_newest_is_first_and_each_is_there_once(browser: Browser, database: Database, clock: Clock) -> None:
    sub = "sub:" + PSEUDONYM("user_12345")
    await tell(database, *both_hops(request(clock.now - 9, request_id="r-1")))
    await tell(database, *both_hops(request(clock.now - 8, request_id="r-2", caller=sub)))
    await tell(database, *both_hops(request(clock.now - 7, request_id="r-3", status=404)))
    await browser.sign_in()
    assert await names(browser) == ["r-3", "r-2", "r-1"]
    assert await names(browser, status="4") == ["r-3"]
    assert await names(browser, status="200") == ["r-2", "r-1"]
    assert await names(browser, gateway="marketing") == ["r-3", "r-2", "r-1"]
    assert await names(browser, gateway="sales") == []
    assert await names(browser, request_id="r-2") == ["r-2", "r-2"]
    shown = words((await browser.get("/portal/requests?request_id=r-2")).text)
    assert "at marketing" in shown
    assert "your tokens" in shown
    assert "12.0 ms" in shown


async def test_nobody_sees_the_requests_of_somebody_else(
    open_browser: Callable[[], Browser], database: Database, clock: Clock
) -> None:
    await tell(database, *both_hops(request(clock.now, request_id="r-1")))
    await tell(database, request(clock.now, request_id="r-2", caller="partner:acme"))
    await tell(database, request(clock.now, request_id="r-3", caller="sub:user_12345"))
    await tell(database, request(clock.now, request_id="r-4", caller=""))
    owner, other = open_browser(), open_browser()
    await owner.sign_in("user_12345")
    await other.sign_in("user_enterprise")
    assert await names(owner) == ["r-1"]
    assert await names(other) == ["r-2"]
    for params in ({"request_id": "r-1"}, {"caller": "partner:person-user_12345"}, {"gateway": "marketing"}):
        assert "r-1" not in await names(other, **params)


async def test_the_requests_of_one_key_are_found_by_whoever_has_it(
    open_browser: Callable[[], Browser], database: Database, clock: Clock
) -> None:
    await tell(database, request(clock.now, request_id="r-1", credential="key_one"))
    await tell(database, request(clock.now, request_id="r-2", credential="key_two"))
    await tell(database, request(clock.now, request_id="r-3", credential="key_acme", caller="partner:acme"))
    owner = open_browser()
    await owner.sign_in("user_12345")
    assert await names(owner, key="key_one") == ["r-1"]
    assert 'href="/portal/requests?key=key_two"' in (await owner.get("/portal/requests")).text
    # Another's key is as one that nobody has.
    for key in ("key_acme", "nobody's", "' OR 1=1 --"):
        assert await names(owner, key=key) == []


async def test_older_requests_are_on_the_next_page(browser: Browser, database: Database, clock: Clock) -> None:
    for number in range(1, 121):
        await tell(
            database, request(clock.now - 200 + number, request_id=f"r-{number}", status=200 + 200 * (number % 2))
        )
    await browser.sign_in()
    seen: list[str] = []
    address = "/portal/requests?status=4"
    while address:
        page = (await browser.get(address)).text
        seen += re.findall(r'request_id=[^"]*">(r-\d+)</a>', page)
        more = re.search(r'href="(/portal/requests\?[^"]*before=[^"]*)"', page)
        address = more[1].replace("&amp;", "&") if more else ""
    assert seen == [f"r-{number}" for number in range(119, 0, -2)]


@pytest.mark.parametrize("query", ["status=x", "status=99999", "before=-1", "before=x", "request_id=" + "x" * 129])
async def test_what_is_no_filter_is_refused(browser: Browser, query: str) -> None:
    await browser.sign_in()
    assert (await browser.get(f"/portal/requests?{query}")).status_code == 400


async def test_what_clients_wrote_runs_nowhere(browser: Browser, database: Database, clock: Clock) -> None:
    odd = request(clock.now, path=f"/api/{XSS}", request_id=XSS, method=XSS, address=XSS)
    await tell(database, odd)
    await browser.sign_in()
    for path in ("/portal/requests", f"/portal/requests?request_id={XSS}"):
        page = (await browser.get(path)).text
        assert "&lt;script&gt;alert(1)" in page
        assert "<script>alert" not in page
