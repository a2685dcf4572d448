"""Figures of the last moments are those of exactly the requests of that time, however they are counted."""

from math import ceil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from records.database import Database
from records.request_figures import RecentFigures, RequestFigures
from records.tables import AccessLogRow
from records.usage import Usage

NOW = 1_800_000_000.0


def row(at: float, status: int = 200, duration: float | None = 1.0, **more: object) -> dict[str, object]:
    return {
        "at": at, "gateway": "central", "node": "central-1", "request_id": "r", "method": "GET", "path": "/",
        "route": "x", "status": status, "details": "", "flags": "", "duration": duration, "upstream_duration": None,
        "upstream": "", "attempts": 1, "octets_in": 0, "octets_out": 0, "address": "", "user_agent": "", "caller": "",
        "subject": "", "tenant": "", "tier": "", "role": "", "outcome": "", **more,
    }  # fmt: skip


async def of(database: Database) -> RecentFigures:
    return await RequestFigures(database).between("central", NOW - 60, NOW)


async def test_without_a_request_there_is_no_figure(database: Database) -> None:
    assert await of(database) == RecentFigures(0, 0, None, None)


async def test_a_request_of_another_time_or_gateway_is_none_of_them(database: Database) -> None:
    rows = [row(NOW - 61), row(NOW), row(NOW - 1, gateway="marketing"), row(NOW - 60, duration=7.0)]
    await Usage(database).add({}, rows)
    assert await of(database) == RecentFigures(1, 0, 7.0, NOW - 60)


async def test_what_the_federation_failed_is_told_from_what_clients_did(database: Database) -> None:
    rows = [
        *(row(NOW - 1, status) for status in (200, 404, 429, 499)),
        *(row(NOW - 1, status) for status in (500, 503)),
        row(NOW - 1, 0, None, flags="DC"),
        row(NOW - 1, 0, None, flags="UF,DC"),
        row(NOW - 1, 0, None, flags="UC"),
        row(NOW - 2, 0, None),
    ]
    await Usage(database).add({}, rows)
    assert await of(database) == RecentFigures(10, 4, 1.0, NOW - 1)


@pytest.mark.requirement("R30")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(took=st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
async def test_95_of_100_took_at_most_the_figure(database: Database, took: list[float]) -> None:
    async with database.writing() as session:
        await session.execute(delete(AccessLogRow))
    await Usage(database).add({}, [row(NOW - 1, duration=each) for each in took])
    found = await of(database)
    assert found.p95 == sorted(took)[ceil(len(took) * 0.95) - 1]
