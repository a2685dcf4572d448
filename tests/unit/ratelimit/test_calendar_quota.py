"""Quotas per day, week and month: where a period begins is for the zone's calendar to say."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from ratelimit.algorithms import UNUSED, CalendarQuota, Period, State

SECOND = 1_000_000
HOUR = 3600 * SECOND


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()) * SECOND


def bounds(limit: CalendarQuota, now: int) -> tuple[str, str]:
    start, end = (
        datetime.fromtimestamp(moment // SECOND, ZoneInfo(limit.zone)).isoformat() for moment in limit.bounds(now)
    )
    return start, end


def spend(limit: CalendarQuota, state: State, now: int, hits: int) -> State:
    for _ in range(hits):
        admitted, _, _, _, state = limit.step(state, now, 1)
        assert admitted
    return state


@pytest.mark.attack("A64")
@pytest.mark.requirement("R42")
def test_ten_a_day_and_the_eleventh_waits_for_midnight() -> None:
    limit, now = CalendarQuota(10, Period.DAY), at("2026-03-14T15:00:00")
    state = spend(limit, UNUSED, now, 10)
    admitted, remaining, retry_after, reset_after, _ = limit.step(state, now, 1)
    assert (admitted, remaining, retry_after, reset_after) == (False, 0, 9 * HOUR, 9 * HOUR)
    assert not limit.step(state, at("2026-03-15T00:00:00") - 1, 1)[0]
    assert limit.step(state, at("2026-03-15T00:00:00"), 1)[:2] == (True, 9)


def test_a_day_in_kolkata_begins_at_half_past_six_in_the_evening_utc() -> None:
    limit = CalendarQuota(10, Period.DAY, "Asia/Kolkata")
    state = spend(limit, UNUSED, at("2026-03-14T18:29:59"), 10)
    assert limit.step(state, at("2026-03-14T18:29:59"), 1)[2] == SECOND
    assert limit.step(state, at("2026-03-14T18:30:00"), 1)[0]


@pytest.mark.attack("A64")
@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)]
)
def test_days_have_the_hours_that_daylight_saving_gives_them(day: str, hours: int) -> None:
    limit = CalendarQuota(10, Period.DAY, "Europe/Berlin")
    start, end = limit.bounds(at(f"{day}T12:00:00", "Europe/Berlin"))
    assert start == at(f"{day}T00:00:00", "Europe/Berlin")
    assert end - start == hours * HOUR


def test_a_day_without_a_midnight_begins_when_the_clock_first_shows_it() -> None:
    # Beirut goes from 23:59:59 to 01:00:00.
    limit = CalendarQuota(10, Period.DAY, "Asia/Beirut")
    assert bounds(limit, at("2026-03-29T12:00:00", "Asia/Beirut"))[0] == "2026-03-29T01:00:00+03:00"


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    now = at("2026-02-18T09:30:00", "America/New_York")
    zone = "America/New_York"
    assert bounds(CalendarQuota(1, Period.WEEK, zone), now) == (
        "2026-02-16T00:00:00-05:00",
        "2026-02-23T00:00:00-05:00",
    )
    assert bounds(CalendarQuota(1, Period.MONTH, zone), now) == (
        "2026-02-01T00:00:00-05:00",
        "2026-03-01T00:00:00-05:00",
    )
    march = at("2026-03-08T09:30:00", zone)
    assert bounds(CalendarQuota(1, Period.MONTH, zone), march)[1] == "2026-04-01T00:00:00-04:00"


def test_december_ends_with_the_year() -> None:
    assert CalendarQuota(1, Period.MONTH).bounds(at("2026-12-31T23:59:59"))[1] == at("2027-01-01T00:00:00")


@pytest.mark.attack("A64")
def test_a_clock_that_steps_back_over_midnight_opens_no_third_day() -> None:
    limit, midnight = CalendarQuota(10, Period.DAY), at("2026-03-15T00:00:00")
    state = spend(limit, UNUSED, midnight - SECOND, 10)
    state = spend(limit, state, midnight, 10)
    assert not limit.step(state, midnight - SECOND, 1)[0]
    assert not limit.step(state, midnight + HOUR, 1)[0]
    assert limit.step(state, at("2026-03-16T00:00:00"), 1)[0]


def test_another_time_zone_in_mid_day_keeps_the_count() -> None:
    now = at("2026-03-14T15:00:00")
    state = spend(CalendarQuota(10, Period.DAY), UNUSED, now, 10)
    assert not CalendarQuota(10, Period.DAY, "America/New_York").step(state, now, 1)[0]
    assert not CalendarQuota(10, Period.DAY, "Asia/Tokyo").step(state, now, 1)[0]


def test_a_zone_that_does_not_exist_is_refused_when_the_limit_is_made() -> None:
    for zone in ("Mars/Olympus", "../UTC", "", "/etc/passwd"):
        with pytest.raises(ValueError):
            CalendarQuota(10, Period.DAY, zone)


def test_periods_are_counted_from_the_epoch_in_microseconds() -> None:
    start, end = CalendarQuota(1, Period.DAY).bounds(at("2026-03-14T15:00:00"))
    assert datetime.fromtimestamp(start / SECOND, UTC) == datetime(2026, 3, 14, tzinfo=UTC)
    assert end - start == 24 * HOUR
