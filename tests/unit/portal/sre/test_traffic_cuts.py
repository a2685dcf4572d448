"""Traffic, cut in every way: no request twice, nobody's left out, and each figure that of the requests themselves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apibank.sre.traffic import Traffic
from portal.developer.browser import Refusal
from portal.traffic import By
from records.database import Database
from records.upgrade import upgrade
from records.usage import DAY, HOUR, Counts, Key, Scope, Usage
from telemetry.prices import read_prices

# Three in the morning, UTC.
NOW = 1_800_000_000 // DAY * DAY + 3 * HOUR
SPAN = (NOW - DAY, NOW + 1)
# By gateway: route, caller, tenant, tier, status, requests, bucket, seconds ago.
SENT = (
    ("content", "partner:acme", "", "business", 200, 90, 50, 60),
    ("content", "partner:acme", "", "business", 503, 10, 100, 60),
    ("seo", "sub:x", "globex", "free", 429, 5, 20, 2 * HOUR),
    ("seo", "sub:y", "globex", "free", 0, 1, 120, 2 * HOUR),
)


@pytest.fixture
async def traffic(tmp_path: Path) -> AsyncIterator[Traffic]:
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    await upgrade(url)
    async with Database(url) as database:
        rows: dict[Key, Counts] = {}
        for route, caller, tenant, tier, status, requests, bucket, ago in SENT:
            for gateway, its_route in (("central", "marketing"), ("marketing", route)):
                for scope in Scope:
                    who = (caller, tenant) if scope is Scope.CALLER else ("", "")
                    key = Key(NOW - ago, scope, gateway, its_route, *who, tier, status)
                    rows[key] = Counts(requests, 0, 70, 30, 1.0 * requests, f"{bucket}:{requests}")
        # Refused by central: it reached nobody.
        for scope in Scope:
            who = "anonymous" if scope is Scope.CALLER else ""
            rows[Key(NOW - 60, scope, "central", "", who, "", "", 401)] = Counts(4, 0, 1, 1, 4.0, "10:4")
        rows[Key(NOW - 40 * DAY, Scope.ALL, "central", "marketing", "", "", "free", 200)] = Counts(9, 0, 0, 0, 9.0, "")
        await Usage(database).add(rows)
        yield Traffic(Usage(database), read_prices())


@pytest.mark.requirement("R19", "R21")
@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (By.GATEWAY, [("central", 110), ("marketing", 106)]),
        (By.ROUTE, [("marketing / content", 100), ("marketing / seo", 6)]),
        (By.CALLER, [("partner:acme", 100), ("sub:x", 5), ("anonymous", 4), ("sub:y", 1)]),
        (By.TENANT, [("", 104), ("globex", 6)]),
        (By.TIER, [("business", 100), ("free", 6), ("", 4)]),
        (By.STATUS, [("200", 90), ("503", 10), ("429", 5), ("401", 4), ("0", 1)]),
    ],
)
async def test_each_cut_has_every_request_once(traffic: Traffic, by: By, expected: list[tuple[str, int]]) -> None:
    lines = await traffic.lines(by, *SPAN)
    assert [(one.name, one.tally.requests) for one in lines] == expected
    assert len(await traffic.lines(by, *SPAN, most=1)) == 1
    assert all(one.tally.p50 is not None and one.p99 is not None for one in lines)


@pytest.mark.requirement("R18", "R19")
async def test_a_line_tells_of_errors_durations_and_octets(traffic: Traffic) -> None:
    whole = await traffic.whole(*SPAN)
    assert (whole.tally.good, whole.tally.client, whole.tally.server, whole.octets) == (90, 9, 11, 402)
    # The ninetieth of 110 is in bucket 50, the 105th and the 109th above it (base 2^(1/8)).
    assert whole.tally.p50 == pytest.approx(2 ** (50.5 / 8))
    assert whole.tally.p95 == pytest.approx(2 ** (100.5 / 8))
    assert whole.p99 == pytest.approx(2 ** (100.5 / 8))
    (acme, *_) = await traffic.lines(By.CALLER, *SPAN)
    assert acme.tally.p95 == pytest.approx(2 ** (100.5 / 8))


@pytest.mark.requirement("R21")
async def test_the_hours_of_the_day_are_in_their_order_and_days_say_nothing_of_them(traffic: Traffic) -> None:
    hours = await traffic.lines(By.HOUR, NOW - 60 * DAY, NOW + 1)
    assert [one.name for one in hours] == [f"{hour:02}:00" for hour in range(24)]
    assert {one.name: one.tally.requests for one in hours if one.tally.requests} == {"01:00": 6, "02:00": 104}


async def test_one_gateway_is_told_as_it_saw_it(traffic: Traffic) -> None:
    assert (await traffic.whole(*SPAN, "marketing")).tally.requests == 106
    lines = await traffic.lines(By.ROUTE, *SPAN, gateway="central")
    assert [(one.name, one.tally.requests) for one in lines] == [("central / marketing", 106), ("central / ", 4)]
    assert [one.name for one in await traffic.lines(By.GATEWAY, *SPAN, gateway="marketing")] == ["marketing"]
    assert await traffic.lines(By.CALLER, *SPAN, gateway="sales") == []


@pytest.mark.requirement("R80", "R85")
async def test_cost_is_by_domain_and_tier_and_the_month_is_held_against_the_threshold(traffic: Traffic) -> None:
    cost = await traffic.cost(*SPAN)
    told = [(one.gateway, one.tier, one.requests, one.dollars) for one in cost.lines]
    assert told == [
        ("marketing", "business", 100, pytest.approx(100 * 3.5e-6)),
        ("marketing", "free", 6, pytest.approx(6 * 3.5e-6)),
    ]
    assert cost.dollars == pytest.approx(106 * 3.5e-6)
    # Thirty days, whatever the period is.
    assert (cost.month, cost.is_reached) == (110, False)


async def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'empty.db'}") as database:
        away = Traffic(Usage(database), read_prices())
        for by in By:
            with pytest.raises(Refusal) as told:
                await away.lines(by, *SPAN)
            assert told.value.status == 503
