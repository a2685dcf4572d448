"""The usage of one caller, added up by the database: what the single rows say, and nobody else's."""

from collections import Counter

from records.caller_usage import usage_of_caller
from records.database import Database
from records.usage import Counts, Key, Scope, Usage

STEP = 3600
START = 1_800_000_000 - 1_800_000_000 % STEP


def rows() -> dict[Key, Counts]:
    found = {}
    for minute in range(0, 180, 7):
        for number, (caller, status) in enumerate([("partner:acme", 200), ("partner:acme", 429), ("tenant:acme", 200)]):
            key = Key(START + minute * 60, Scope.CALLER, "central", "marketing", caller, "", "free", status)
            requests = minute + number + 1
            found[key] = Counts(requests, 0, 1, 1, 1.0, f"{number}:{requests}")
    return found


async def test_rows_of_an_hour_are_added_and_their_histograms_put_together(database: Database) -> None:
    await Usage(database).add(rows())
    expected: Counter[tuple[int, int]] = Counter()
    histograms: dict[tuple[int, int], list[str]] = {}
    for key, counts in rows().items():
        if key.caller == "partner:acme":
            bucket = (key.start - key.start % STEP, key.status)
            expected[bucket] += counts.requests
            histograms.setdefault(bucket, []).append(counts.histogram)
    found = await usage_of_caller(database, "partner:acme", START, START + 4 * STEP, STEP)
    assert {(one.start, one.status): one.requests for one in found} == expected
    assert {(one.start, one.status): sorted(one.histograms.split()) for one in found} == {
        bucket: sorted(texts) for bucket, texts in histograms.items()
    }


async def test_only_what_is_between_the_two_moments_counts(database: Database) -> None:
    await Usage(database).add(rows())
    found = await usage_of_caller(database, "tenant:acme", START + STEP, START + 2 * STEP, STEP)
    assert {one.start for one in found} == {START + STEP}
    assert await usage_of_caller(database, "tenant:acme", START + 9 * STEP, START + 10 * STEP, STEP) == []
    assert await usage_of_caller(database, "nobody", 0, START * 2, STEP) == []
