"""Traffic of a gateway as the tables of usage have it: by route, once, of the last hour."""

from pathlib import Path

import pytest

from apibank.sre.traffic import Traffic
from portal.developer.browser import Refusal
from records.database import Database
from records.upgrade import upgrade
from records.usage import Counts, Key, Scope, Usage
from telemetry.prices import read_prices

NOW = 1_800_000_000


def key(route: str, status: int, *, scope: Scope = Scope.ALL, gateway: str = "marketing", at: int = NOW - 60) -> Key:
    caller = "partner:acme" if scope is Scope.CALLER else ""
    return Key(at, scope, gateway, route, caller, "", "", status)


def counts(requests: int) -> Counts:
    return Counts(requests, 0, 0, 0, 10.0 * requests, f"100:{requests}")


async def test_routes_are_counted_once_and_those_that_fail_come_first(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'usage.db'}"
    await upgrade(url)
    async with Database(url) as database:
        usage = Usage(database)
        await usage.add(
            {
                key("good", 200): counts(10),
                key("good", 404): counts(2),
                key("bad", 503): counts(1),
                key("bad", 0): counts(3),
                key("good", 200, scope=Scope.CALLER): counts(10),
                key("good", 200, gateway="sales"): counts(10),
                key("good", 200, at=NOW - 7_200): counts(10),
            }
        )
        (bad, failing), (good, fine) = await Traffic(usage, read_prices()).of("marketing", NOW)
        assert (bad, failing.good, failing.client, failing.server) == ("bad", 0, 0, 4)
        assert (good, fine.good, fine.client, fine.server) == ("good", 10, 2, 0)
        assert fine.p50 is not None
        assert await Traffic(usage, read_prices()).of("education", NOW) == []


async def test_a_database_that_is_not_there_is_said(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'empty.db'}") as database:
        with pytest.raises(Refusal) as told:
            await Traffic(Usage(database), read_prices()).of("marketing", NOW)
    assert told.value.status == 503
