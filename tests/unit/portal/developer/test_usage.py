"""Usage in the portal: the figures are those of the raw requests, and nobody else's."""

import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.developer.chart import Column, chart
from portal.developer.usage import Period
from records.api_keys import ApiKeys
from records.database import Database
from records.key_usage import KeyUsage
from telemetry.access_log.histogram import from_text, merged, to_text
from tests.unit.portal.developer.conftest import PSEUDONYM, Clock
from tests.unit.portal.developer.test_keys import NEW
from tests.unit.portal.developer.test_limits import words
from tests.unit.portal.developer.traffic import both_hops, request, tell
from tests.unit.portal.developer.world import Browser


async def test_without_requests_the_page_says_so(browser: Browser) -> None:
    await browser.sign_in()
    page = words((await browser.get("/portal/usage")).text)
    assert "There were no requests in this time." in page
    assert "Requests 0" in page


@pytest.mark.requirement("R117")
async def test_the_figures_are_those_of_the_requests(browser: Browser, database: Database, clock: Clock) -> None:
    now = clock.now
    sub = "sub:" + PSEUDONYM("user_12345")
    await tell(
        database,
        *both_hops(request(now - 10, duration=10.0)),
        *both_hops(request(now - 20, status=403, duration=20.0)),
        *both_hops(request(now - 7300, status=503, duration=1000.0), route="seo"),
        request(now - 30, status=429, caller=sub),
    )
    await browser.sign_in()
    page = words((await browser.get("/portal/usage")).text)
    assert "Requests 4 Refused or mistaken 2 4xx Failed 1 5xx" in page
    # Requests, 4xx, 5xx of each endpoint and of each kind of credential.
    assert re.search(r"marketing / content 2 1 0 ", page)
    assert re.search(r"marketing / seo 1 0 1 ", page)
    assert re.search(r"your keys 3 1 1 ", page)
    assert re.search(r"your tokens 1 1 0 ", page)


@pytest.mark.requirement("R117")
async def test_what_single_keys_did_is_told_by_their_ids(browser: Browser, database: Database, clock: Clock) -> None:
    now = clock.now
    await tell(
        database,
        *both_hops(request(now - 10, credential="key_one")),
        *both_hops(request(now - 20, credential="key_one", status=403)),
        *both_hops(request(now - 20, credential="key_two", status=503)),
        request(now - 30, caller="partner:acme", credential="key_acme"),
    )
    await browser.sign_in()
    page = words((await browser.get("/portal/usage")).text)
    assert re.search(
        r"By single key .*key_one its requests not told yet 2 1 0 .*key_two its requests not told yet 1 0 1 ", page
    )
    assert "key_acme" not in page


async def test_a_key_is_told_by_the_name_that_its_owner_gave_it(
    browser: Browser, database: Database, clock: Clock
) -> None:
    await browser.sign_in()
    await browser.post("/portal/keys", {**NEW, "name": "nightly <b>batch</b>"})
    (key,) = await ApiKeys(database).list()
    await tell(database, *both_hops(request(clock.now - 10, credential=key.key_id, caller=f"partner:{key.partner}")))
    page = (await browser.get("/portal/usage")).text
    assert f'<a href="/portal/keys/{key.key_id}">nightly &lt;b&gt;batch&lt;/b&gt;</a>' in page
    assert re.search(rf"{key.key_id} its requests not told yet 1 0 0 ", words(page))
    uses, used = KeyUsage(database), datetime.fromtimestamp(clock.now - 10, UTC)
    uses.note(key.key_id, used)
    await uses.flush()
    assert f'datetime="{used:%Y-%m-%dT%H:%M}' in (await browser.get("/portal/usage")).text


async def test_nobody_sees_the_usage_of_somebody_else(
    open_browser: Callable[[], Browser], database: Database, clock: Clock
) -> None:
    await tell(database, request(clock.now - 5), request(clock.now - 5, caller="tenant:acme", status=500))
    one, other, third = open_browser(), open_browser(), open_browser()
    await one.sign_in("user_12345")
    await other.sign_in("user_enterprise")
    await third.sign_in("user_free")
    assert "Requests 1 Refused or mistaken 0 4xx Failed 0" in words((await one.get("/portal/usage")).text)
    assert "Requests 1 Refused or mistaken 0 4xx Failed 1" in words((await other.get("/portal/usage")).text)
    for path in ("/portal/usage?caller=tenant:acme", "/portal/usage?tenant=acme&partner=acme"):
        assert "Requests 0" in words((await third.get(path)).text)


@pytest.mark.parametrize("period", ["day", "week", "month", "", "century", "<script>"])
async def test_a_period_is_one_of_three(browser: Browser, database: Database, clock: Clock, period: str) -> None:
    days = {"week": 7, "month": 30}.get(period, 1)
    inside, outside = clock.now - days * 86_400 + 90_000 * (days > 1) + 7200 * (days == 1), clock.now - days * 87_000
    await tell(database, request(inside), request(outside, status=500), request(outside - 86_400, status=500))
    await browser.sign_in()
    page = await browser.get("/portal/usage", period=period)
    assert page.status_code == 200
    assert "Requests 1 Refused" in words(page.text)
    assert "<script>" not in page.text


def test_columns_lie_side_by_side_and_the_last_one_holds_this_moment() -> None:
    for period in Period:
        starts = period.starts(1_800_000_123.0)
        assert starts[-1] <= 1_800_000_123 < starts[-1] + period.step
        assert {later - earlier for earlier, later in itertools.pairwise(starts)} == {period.step}


def test_parts_of_a_column_are_on_top_of_each_other_and_inside() -> None:
    columns = [Column(str(n), (("ok", float(n), ""), ("server", float(n % 3), ""))) for n in range(24)]
    drawn = chart(columns, width=1000, height=200, most_labels=12)
    by_x: dict[float, list[tuple[float, float]]] = {}
    for bar in drawn.bars:
        assert bar.height >= 1
        assert bar.y >= 0
        assert bar.y + bar.height <= drawn.bottom + 0.2
        assert drawn.left <= bar.x <= drawn.right - bar.width + 0.2
        by_x.setdefault(bar.x, []).append((bar.y, bar.height))
    for parts in by_x.values():
        for (y, _), (above, height) in itertools.pairwise(parts):
            assert above + height == pytest.approx(y, abs=0.21)
    assert len(drawn.labels) <= 12
    assert [tick.words for tick in drawn.ticks] == ["0", "10", "20", "30", "40"]


@pytest.mark.parametrize("highest", [0.0, 0.4, 1.0, 3.0, 999.0, 12_345.0, 1e9])
def test_the_scale_ends_above_the_highest(highest: float) -> None:
    drawn = chart([Column("", (("ok", highest, ""),)), Column("", value=highest)], width=300, height=100, most_labels=5)
    assert all(bar.y >= 7.9 for bar in drawn.bars)
    assert all(y >= 7.9 for _, y, _ in drawn.dots)


def test_a_line_is_interrupted_where_there_is_no_figure() -> None:
    values = [1.0, 2.0, None, 3.0, None, 4.0, 5.0]
    drawn = chart([Column("", value=one) for one in values], width=700, height=100, most_labels=7)
    assert [len(line.split()) for line in drawn.lines] == [2, 2]
    assert len(drawn.dots) == 5


@given(st.lists(st.dictionaries(st.integers(-72, 192), st.integers(1, 10**6), max_size=6), max_size=20))
def test_histograms_are_added_as_the_telemetry_service_adds_them(several: list[dict[int, int]]) -> None:
    assert from_text(" ".join(map(to_text, several))) == merged(several)
