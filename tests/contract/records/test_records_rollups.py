"""However coarse usage has become, it says what the single requests say that it was made of."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from apibank.telemetry_service import Store, merge
from records.database import Database
from records.request_log import RequestLog, Wanted
from records.tables import AccessLogRow, UsageRow
from records.usage import DAY, HOUR, Kept, Scope, Usage
from telemetry.access_log.histogram import Histogram, count, from_text
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import UsageCounter

NOW = 1_800_000_000 // DAY * DAY
KEPT = Kept(minutes=2 * HOUR, hours=2 * DAY, days=100 * DAY)
FIGURES = ("requests", "failed", "octets_in", "octets_out")
OF_CALLERS = ("gateway", "route", "caller", "tenant", "tier", "credential", "status")
OF_ALL = ("gateway", "route", "tier", "status")

RECORDS = st.builds(
    AccessRecord,
    at=st.floats(0, 4 * DAY).map(lambda after: NOW + after),
    gateway=st.sampled_from(["central", "marketing"]),
    node=st.just("n"),
    request_id=st.just("r"),
    method=st.just("GET"),
    path=st.just("/x"),
    route=st.sampled_from(["", "content", "seo"]),
    status=st.sampled_from([0, 200, 404, 429, 500, 503]),
    details=st.just(""),
    flags=st.just(""),
    duration=st.none() | st.floats(0, 1e6),
    upstream_duration=st.none(),
    upstream=st.just(""),
    attempts=st.just(1),
    octets_in=st.integers(0, 2**40),
    octets_out=st.integers(0, 2**40),
    address=st.just(""),
    user_agent=st.just(""),
    caller=st.sampled_from(["partner:a", "partner:b", "tenant:a", ""]),
    tenant=st.sampled_from(["a", ""]),
    tier=st.sampled_from(["free", "business"]),
    credential=st.sampled_from(["", "key_1", "key_2"]),
)
Group = tuple[object, ...]


async def raw(database: Database, by: Sequence[str]) -> tuple[Mapping[Group, list[float]], Mapping[Group, Histogram]]:
    """What the rows of single requests add up to."""
    sums: dict[Group, list[float]] = defaultdict(lambda: [0.0] * (len(FIGURES) + 1))
    histograms: dict[Group, Histogram] = defaultdict(dict)
    for row in await RequestLog(database).find(Wanted(), 1_000):
        group = tuple(row[name] for name in by)
        told = AccessRecord(**{name: row[name] for name in AccessRecord.__slots__})
        mine = (1, told.failed, told.octets_in, told.octets_out, told.duration or 0.0)
        sums[group] = [one + more for one, more in zip(sums[group], mine, strict=True)]
        if told.duration is not None:
            count(histograms[group], told.duration)
    return sums, histograms


async def told(
    database: Database, by: Sequence[str], scope: Scope
) -> tuple[Mapping[Group, list[Any]], Mapping[Group, Histogram]]:
    """The same by the usage."""
    usage = Usage(database)
    rows = await usage.sums(0, 2 * NOW, by, scope=scope)
    sums = {tuple(row[name] for name in by): [row[name] for name in (*FIGURES, "duration")] for row in rows}
    texts = await usage.histograms(0, 2 * NOW, by, scope=scope)
    return sums, {group: from_text(" ".join(some)) for group, some in texts.items()}


@pytest.mark.requirement("R8")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(
    batches=st.lists(st.lists(RECORDS, min_size=1, max_size=12), min_size=1, max_size=4),
    moments=st.lists(st.integers(0, 20), max_size=3),
)
async def test_usage_is_what_the_single_requests_add_up_to(
    database: Database, batches: list[list[AccessRecord]], moments: list[int]
) -> None:
    async with database.writing() as session:
        await session.execute(delete(UsageRow))
        await session.execute(delete(AccessLogRow))
    store = Store(Usage(database), RequestLog(database))
    for number, batch in enumerate(batches):
        counter = UsageCounter()
        counter.count(batch)
        await store.keep(batch, counter.take())
        # Between what comes, and after all of it.
        if number < len(moments):
            await store.usage.roll_up(NOW + moments[number] * DAY // 2, merge, KEPT)
    for half_days in moments:
        await store.usage.roll_up(NOW + half_days * DAY // 2, merge, KEPT)
    for by, scope in ((OF_CALLERS, Scope.CALLER), (OF_ALL, Scope.ALL)):
        (expected, shapes), (found, found_shapes) = await raw(database, by), await told(database, by, scope)
        assert found.keys() == expected.keys()
        for group, figures in found.items():
            assert figures == pytest.approx(expected[group])
            assert found_shapes.get(group, {}) == shapes.get(group, {})
