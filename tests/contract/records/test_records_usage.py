"""Usage adds up, whatever it is asked by and however coarse it has become, and the request log keeps to its bounds."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from records.database import Database
from records.request_log import RequestLog, Wanted
from records.usage import DAY, HOUR, MINUTE, Counts, Kept, Key, Scope, Usage

NOW = 1_800_000_000 // DAY * DAY
KEPT = Kept(minutes=2 * HOUR, hours=2 * DAY, days=10 * DAY)


def merge(histograms: Sequence[str]) -> str:
    """Of texts such as `3:1 4:2`."""
    counts: Counter[int] = Counter()
    for text in histograms:
        for pair in text.split():
            index, _, count = pair.partition(":")
            counts[int(index)] += int(count)
    return " ".join(f"{index}:{counts[index]}" for index in sorted(counts))


def key(start: int, caller: str = "partner:a", *, route: str = "content", status: int = 200) -> Key:
    return Key(start // MINUTE * MINUTE, Scope.CALLER, "marketing", route, caller, caller[-1], "free", status)


def counts(requests: int = 1) -> Counts:
    return Counts(requests, 0, 10 * requests, 20 * requests, 1.5 * requests, f"3:{requests}")


async def total(usage: Usage) -> int:
    return sum(row["requests"] for row in await usage.sums(0, 2 * NOW, []))


async def test_rows_of_one_key_are_added(database: Database) -> None:
    usage = Usage(database)
    await usage.add({key(NOW): counts(2), key(NOW, "partner:b"): counts()})
    await usage.add({key(NOW): counts(3)})
    rows = await usage.sums(NOW, NOW + HOUR, ["caller"], scope=Scope.CALLER)
    assert [(row["caller"], row["requests"], row["octets_out"], row["duration"]) for row in rows] == [
        ("partner:a", 5, 100, 7.5), ("partner:b", 1, 20, 1.5),
    ]  # fmt: skip
    found = await usage.histograms(NOW, NOW + HOUR, ["caller"])
    assert {caller: merge(texts) for (caller,), texts in found.items()} == {"partner:a": "3:5", "partner:b": "3:1"}


async def test_it_is_asked_by_time_and_by_whatever_rows_say(database: Database) -> None:
    usage = Usage(database)
    await usage.add(
        {
            key(NOW): counts(1),
            key(NOW + 59 * MINUTE, status=429): counts(2),
            key(NOW + HOUR, "partner:b"): counts(4),
            key(NOW + HOUR, "partner:b", route="seo"): counts(8),
        }
    )
    hours = await usage.sums(NOW, NOW + DAY, [], step=HOUR)
    assert [(row["start"], row["requests"]) for row in hours] == [(NOW, 3), (NOW + HOUR, 12)]
    assert [row["requests"] for row in await usage.sums(NOW + MINUTE, NOW + DAY, [], tenant="a")] == [2]
    by_route = await usage.sums(NOW, NOW + DAY, ["route", "status"], tenant="b")
    assert [(row["route"], row["status"], row["requests"]) for row in by_route] == [
        ("content", 200, 4),
        ("seo", 200, 8),
    ]
    assert await usage.sums(NOW + DAY, NOW + 2 * DAY, ["route"]) == []


async def test_what_is_old_gets_coarser_and_nothing_is_lost_or_counted_twice(database: Database) -> None:
    usage = Usage(database)
    for minute in range(0, 26 * 60, 7):
        await usage.add({key(NOW + minute * MINUTE): counts(), key(NOW + minute * MINUTE, "partner:b"): counts(2)})
    before = await total(usage)
    assert await usage.roll_up(NOW + 26 * HOUR, merge, KEPT) > 0
    assert await total(usage) == before
    hours = await usage.sums(NOW, NOW + 2 * DAY, ["caller"], step=HOUR)
    assert len(hours) == 52
    # All of it a second time changes nothing more.
    assert await usage.roll_up(NOW + 26 * HOUR, merge, KEPT) == 0
    await usage.roll_up(NOW + 5 * DAY, merge, KEPT)
    assert await total(usage) == before
    rows = await usage.sums(NOW, NOW + 2 * DAY, [], step=MINUTE)
    assert {row["start"] % DAY for row in rows} == {0}
    found = await usage.histograms(NOW, NOW + 2 * DAY, ["caller"])
    assert sum(int(merge(texts).partition(":")[2]) for texts in found.values()) == before
    assert await usage.roll_up(NOW + 20 * DAY, merge, KEPT) > 0
    assert await total(usage) == 0


async def test_what_is_written_every_second_is_one_row_soon_after_its_minute(database: Database) -> None:
    usage = Usage(database)
    for _ in range(60):
        await usage.add({key(NOW): counts(), key(NOW + 9 * MINUTE): counts()})
    # The minute that is not over stays as it is.
    assert await usage.roll_up(NOW + 9 * MINUTE + 59, merge, KEPT) == 59
    found = await usage.histograms(NOW, NOW + DAY, [], start=NOW)
    assert found == {(): ["3:60"]}
    assert [row["requests"] for row in await usage.sums(NOW, NOW + DAY, [], step=MINUTE)] == [60, 60]
    assert await usage.roll_up(NOW + 9 * MINUTE + 59, merge, KEPT) == 0


async def test_what_comes_late_is_added_to_what_is_coarse_already(database: Database) -> None:
    usage = Usage(database)
    for _ in range(2):
        await usage.add({key(NOW + 5 * MINUTE): counts()})
        await usage.roll_up(NOW + DAY, merge, KEPT)
    assert [row["requests"] for row in await usage.sums(NOW, NOW + HOUR, [], step=HOUR)] == [2]


async def test_several_that_roll_up_at_a_time_lose_nothing(database: Database) -> None:
    usage = Usage(database)
    for minute in range(300):
        await usage.add({key(NOW + minute * MINUTE): counts()})
    await asyncio.gather(*(Usage(database).roll_up(NOW + DAY, merge, KEPT) for _ in range(4)))
    assert await total(usage) == 300


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(
    minutes=st.lists(st.tuples(st.integers(0, 5000), st.sampled_from("abc"), st.integers(1, 5)), max_size=30),
    moments=st.lists(st.integers(0, 20), max_size=3),
)
async def test_at_any_time_the_sum_of_a_caller_is_that_of_its_requests(
    database: Database, minutes: list[tuple[int, str, int]], moments: list[int]
) -> None:
    usage = Usage(database)
    await usage.roll_up(NOW + 10_000 * DAY, merge, KEPT)
    expected: Counter[str] = Counter()
    for minute, caller, requests in minutes:
        await usage.add({key(NOW + minute * MINUTE, f"partner:{caller}"): counts(requests)})
        expected[f"partner:{caller}"] += requests
    for days in moments:
        await usage.roll_up(NOW + days * DAY // 2, merge, KEPT)
    rows = await usage.sums(0, 2 * NOW, ["caller"])
    assert {row["caller"]: row["requests"] for row in rows} == expected


def request(number: int, **other: object) -> dict[str, object]:
    row: dict[str, object] = {
        "at": NOW + number, "gateway": "marketing", "node": "n", "request_id": f"r-{number}", "method": "GET",
        "path": "/x", "route": "content", "status": 200, "details": "", "flags": "", "duration": 1.0,
        "upstream_duration": None, "upstream": "u", "attempts": 1, "octets_in": 1, "octets_out": 2, "address": "",
        "user_agent": "", "caller": "partner:a", "subject": "", "tenant": "a", "tier": "free", "role": "",
        "outcome": "allowed",
    }  # fmt: skip
    return {**row, **other}


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Wanted(), [5, 4, 3, 2, 1, 0]),
        (Wanted(since=NOW + 1, until=NOW + 3), [2, 1]),
        (Wanted(status=4), [5, 4]),
        (Wanted(status=429), [5]),
        (Wanted(tenant="b"), [1]),
        (Wanted(request_id="r-3"), [3]),
        (Wanted(gateway="sales", status=4), []),
        (Wanted(caller="partner:a", route="content"), [5, 4, 3, 2, 0]),
    ],
)
async def test_requests_are_found_by_what_is_known_of_them(
    database: Database, wanted: Wanted, numbers: list[int]
) -> None:
    log = RequestLog(database)
    others: dict[int, dict[str, object]] = {
        1: {"tenant": "b", "caller": "partner:b"},
        4: {"status": 404},
        5: {"status": 429},
    }
    await Usage(database).add({}, [request(number, **others.get(number, {})) for number in range(6)])
    assert [row["request_id"] for row in await log.find(wanted)] == [f"r-{number}" for number in numbers]


async def test_requests_are_paged_without_a_gap(database: Database) -> None:
    log = RequestLog(database)
    await Usage(database).add({}, [request(number) for number in range(25)])
    seen: list[str] = []
    before: int | None = None
    while page := await log.find(Wanted(before=before), 10):
        seen += [row["request_id"] for row in page]
        before = page[-1]["id"]
    assert seen == [f"r-{number}" for number in reversed(range(25))]


async def test_the_log_keeps_to_its_time_and_its_size(database: Database) -> None:
    log = RequestLog(database)
    await Usage(database).add({}, [request(number) for number in range(100)])
    assert await log.prune(NOW + 10, 1000) == 10
    assert await log.prune(NOW, 50) == 40
    assert [row["request_id"] for row in await log.find(Wanted(), 1000)] == [f"r-{n}" for n in reversed(range(50, 100))]
    assert await log.prune(NOW + 1000, 50) == 50
    assert await log.find(Wanted()) == []


async def test_one_request_that_lasted_takes_no_other_with_it(database: Database) -> None:
    log = RequestLog(database)
    await Usage(database).add({}, [request(number) for number in range(10)])
    # It began before all others, and was told of last.
    await Usage(database).add({}, [{**request(99), "at": NOW - 10_000.0}])
    assert await log.prune(NOW - 5_000, 1_000) == 1
    assert len(await log.find(Wanted(), 1000)) == 10


async def test_what_the_database_cannot_hold_keeps_nothing_else_from_it(database: Database) -> None:
    requests = [request(number) for number in range(9)]
    requests[4] = {**requests[4], "octets_in": 2**63}
    assert await Usage(database).add({}, requests) == 1
    assert len(await RequestLog(database).find(Wanted(), 100)) == 8
