"""Keys that end soon are told of in time, once a threshold, and never by the key itself."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from apibank.key_reminders import KeyReminders
from records.api_keys import ApiKeys, IssuedKey
from records.database import Database
from records.upgrade import upgrade

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[ApiKeys]:
    url = f"sqlite:///{tmp_path / 'records.db'}"
    await upgrade(url)
    async with Database(url) as database:
        yield ApiKeys(database)


class Watch:
    def __init__(self, keys: ApiKeys) -> None:
        self.now = NOW
        self.registry = CollectorRegistry()
        self.reminders = KeyReminders(keys, self.registry, lambda: self.now.timestamp())

    async def look(self, after: timedelta) -> list[tuple[str, int]]:
        self.now = NOW + after
        with capture_logs() as logs:
            await self.reminders.look()
        return [(one["key_id"], one["days_left"]) for one in logs]

    def figures(self) -> dict[str, float]:
        return {
            sample.labels["key_id"]: sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name == "apibank_api_key_expiry_seconds"
        }


async def made(keys: ApiKeys, partner: str = "acme", days: int = 90) -> IssuedKey:
    return await keys.create(partner, [f"partner:{partner}:marketing:read"], now=NOW, lifetime=days * DAY)


@pytest.mark.requirement("R96")
async def test_a_key_is_told_of_two_weeks_one_week_and_a_day_before_its_end_once_each(keys: ApiKeys) -> None:
    key = (await made(keys)).key.key_id
    watch = Watch(keys)
    assert await watch.look(75 * DAY) == []
    assert await watch.look(76 * DAY) == [(key, 14)]
    assert await watch.look(80 * DAY) == []
    assert await watch.look(83 * DAY) == [(key, 7)]
    assert await watch.look(89 * DAY) == [(key, 1)]
    assert await watch.look(89 * DAY + timedelta(hours=20)) == []
    assert await watch.look(91 * DAY) == []
    assert watch.figures() == {}


async def test_a_watch_that_begins_late_tells_of_the_last_threshold_alone(keys: ApiKeys) -> None:
    key = (await made(keys)).key.key_id
    watch = Watch(keys)
    assert await watch.look(85 * DAY) == [(key, 5)]
    assert await watch.look(86 * DAY) == []


@pytest.mark.requirement("R95", "R96")
async def test_the_figure_is_the_end_of_each_live_key_without_a_successor_by_its_id(keys: ApiKeys) -> None:
    first, second, revoked = [await made(keys, partner) for partner in ("acme", "beta", "gone")]
    watch = Watch(keys)
    await keys.revoke(revoked.key.key_id, now=NOW)
    rotated = await keys.rotate(second.key.key_id, now=NOW, old_until=NOW + DAY)
    await watch.look(timedelta())
    end = (NOW + 90 * DAY).timestamp()
    assert watch.figures() == {first.key.key_id: end, rotated.key.key_id: end}
    shown = generate_latest(watch.registry).decode()
    assert 'partner="acme"' in shown
    assert not any(one.text in shown for one in (first, second, revoked, rotated))


@pytest.mark.requirement("R96")
async def test_what_ends_within_some_days_is_listed_soonest_first(keys: ApiKeys) -> None:
    late, soon, sooner = [(await made(keys, days=days)).key.key_id for days in (60, 10, 5)]
    assert [one.key_id for one in await keys.expiring(NOW, 14 * DAY)] == [sooner, soon]
    assert [one.key_id for one in await keys.expiring(NOW)] == [sooner, soon, late]
    assert [one.key_id for one in await keys.expiring(NOW + 5 * DAY, 14 * DAY)] == [soon]
    await keys.rotate(soon, now=NOW, old_until=NOW + DAY)
    assert [one.key_id for one in await keys.expiring(NOW, 14 * DAY)] == [sooner]
