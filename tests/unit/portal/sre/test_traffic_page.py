"""The page of all traffic: for administrators alone, in the words of whoever called, and nothing of theirs runs."""

import pytest

from portal.developer.usage import Tally
from portal.traffic import By, Cost, CostLine, Line
from tests.unit.portal.sre.conftest import Routes, Visit
from tests.unit.portal.sre.world import HOSTILE

PAGE = "/portal/sre/traffic"


@pytest.mark.parametrize("who", ["", "customer", "forged"])
async def test_nobody_but_an_administrator_learns_of_traffic(visit: Visit, routes: Routes, who: str) -> None:
    assert (await visit(who).get(PAGE)).status_code == 404
    assert routes.asked == []


@pytest.mark.requirement("R17", "R18", "R19", "R21")
async def test_every_cut_is_shown_with_what_has_no_name_in_words(visit: Visit, routes: Routes) -> None:
    tally = Tally(1_234, 5, 6, 7.0, 800.0)
    routes.cut = {
        By.GATEWAY: [Line("central", tally, 900.0)],
        By.ROUTE: [Line("marketing / content", tally), Line("central / ", tally)],
        By.CALLER: [Line("partner:acme", tally), Line("", tally)],
        By.TENANT: [Line("", tally)],
        By.TIER: [Line("", tally)],
        By.STATUS: [Line("0", tally), Line("503", tally)],
    }
    routes.costs = Cost((CostLine("marketing", "free", 1_000, 0.0035),), 123_456, 100_000, 10_000)
    text = (await visit("admin").get(PAGE)).text
    for words in (
        "By route", "marketing / content", "nobody known", "no tenant", "no tier", "no answer", "1\u202f245", "900 ms",
        "0.0035 $", "123\u202f456 requests in 30 days", "10\u202f000 dollars",
    ):  # fmt: skip
        assert words in text
    assert '<p class="notice warn">123' in text
    assert 'href="/portal/sre/traffic?period=day&amp;gateway=central"' in text


async def test_one_gateway_and_another_period_are_asked_for(visit: Visit, routes: Routes) -> None:
    text = (await visit("admin").get(f"{PAGE}?gateway=marketing&period=week")).text
    assert "Traffic of marketing" in text
    assert "Cost, by domain" not in text
    since, until, gateway = routes.asked[-1]
    assert gateway == "marketing"
    assert 6 * 86_400 < until - since <= 7 * 86_400
    for wrong in ("gateway=Not+One", "gateway=" + "x" * 99):
        assert (await visit("admin").get(f"{PAGE}?{wrong}")).status_code == 404


@pytest.mark.attack("A58")
async def test_nothing_that_callers_are_called_runs(visit: Visit, routes: Routes) -> None:
    routes.cut = {by: [Line(HOSTILE, Tally(1))] for by in (By.ROUTE, By.CALLER, By.TENANT)}
    text = (await visit("admin").get(PAGE)).text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
