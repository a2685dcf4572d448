"""The table of limits: what is enforced, for this visitor, with what is left of it."""

import re
from collections.abc import Mapping
from html import unescape

import pytest

from policy.descriptors import CALLER
from policy.model import Gateway
from tests.unit.portal.developer.conftest import Counting
from tests.unit.portal.developer.world import Browser


def words(page: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", page)))


@pytest.mark.requirement("R120")
async def test_the_table_shows_what_is_enforced_and_what_is_left(
    browser: Browser, counting: Counting, policies: Mapping[str, Gateway]
) -> None:
    counting.left[(CALLER, "partner:acme")] = 3
    counting.left[(CALLER, "tenant:acme")] = 0
    await browser.sign_in("user_enterprise")
    page = words((await browser.get("/portal/limits")).text)
    for name in policies["marketing"].limits:
        assert f" {name} " in page
    assert "3 of your keys, all again in 30 seconds" in page
    assert "0 of your organization's tokens, again in 30 seconds" in page


async def test_a_visitor_is_told_of_their_own_counters_alone(browser: Browser, counting: Counting) -> None:
    await browser.sign_in("user_12345")
    await browser.get("/portal/limits")
    callers = {value for one in counting.asked for name, value in one if name == CALLER}
    assert callers == {"partner:person-user_12345", "sub:user_12345"}


async def test_limits_of_gateways_that_are_closed_to_a_visitor_are_not_shown(browser: Browser) -> None:
    await browser.sign_in("company_1")
    page = (await browser.get("/portal/limits")).text
    assert 'id="of-sales"' in page
    assert 'id="of-central"' in page
    for other in ("marketing", "education", "platform", "agents"):
        assert f'id="of-{other}"' not in page


async def test_a_gateway_that_does_not_say_is_named_beside_the_others(browser: Browser, counting: Counting) -> None:
    counting.silent = {"marketing", "sales"}
    await browser.sign_in("user_12345")
    page = words((await browser.get("/portal/limits")).text)
    assert "What is left is not known now of: marketing." in page
    counting.silent |= {"central", "platform", "education", "agents"}
    silent = words((await browser.get("/portal/limits")).text)
    assert "not known now of: central, marketing" in silent or "not known now of: marketing, central" in silent
