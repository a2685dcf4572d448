"""The durable audit of administration (R36)."""

import asyncio
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy import text

from records.audit_chain import GENESIS, row_hash
from records.audit_log import MAX_ROWS, AuditEntry, AuditLog, AuditQuery
from records.database import Database
from tests.contract.records.conftest import NOW

ENTRY = AuditEntry(
    timestamp=NOW,
    gateway="platform",
    endpoint="/api/platform/admin/restart-agent?agent_id=content",
    method="POST",
    outcome="allowed",
    status=200,
    reason="admitted",
    principal="sub:admin_1",
    ip="10.0.0.7",
    user_agent="curl/8",
    request_id="0f6f3a0e",
    policy_version="abc123",
    role="admin",
    credential_id="t-1",
    route="admin",
)


@pytest.fixture
def log(database: Database) -> AuditLog:
    return AuditLog(database)


def entry(number: int, **change: object) -> AuditEntry:
    return replace(ENTRY, event_id=f"e{number}", timestamp=NOW + timedelta(seconds=number), **change)  # type: ignore[arg-type]


async def found(log: AuditLog, **query: object) -> list[str]:
    return [row.entry.event_id for row in await log.find(AuditQuery(**query))]  # type: ignore[arg-type]


@pytest.mark.requirement("R36")
async def test_an_operation_is_recorded_with_who_what_when_and_from_where(log: AuditLog) -> None:
    await log.write([ENTRY])
    (row,) = await log.find(AuditQuery())
    assert row.entry == ENTRY
    assert (row.position, row.prev_hash, row.row_hash) == (1, GENESIS, row_hash(ENTRY, 1, GENESIS))


async def test_a_batch_that_is_written_twice_is_recorded_once(log: AuditLog) -> None:
    await log.write([entry(1), entry(2)])
    await log.write([entry(1), entry(2), entry(3)])
    assert await found(log) == ["e3", "e2", "e1"]


async def test_a_large_batch_is_one_transaction(log: AuditLog) -> None:
    await log.write([entry(number) for number in range(2000)])
    assert len(await found(log, limit=10_000)) == MAX_ROWS
    broken = [*(entry(number) for number in range(3000, 3010)), replace(ENTRY, timestamp=NOW.replace(tzinfo=None))]
    with pytest.raises(Exception, match="time zone"):
        await log.write(broken)
    assert await found(log, since=NOW + timedelta(seconds=3000)) == []


async def test_an_empty_batch_is_nothing(log: AuditLog) -> None:
    await log.write([])
    assert await found(log) == []


async def test_moments_of_any_zone_are_the_same_moments(log: AuditLog) -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    await log.write([replace(ENTRY, timestamp=local)])
    assert [row.entry.timestamp for row in await log.find(AuditQuery(since=NOW, until=NOW + timedelta(seconds=1)))] == [
        NOW
    ]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({"gateway": "sales"}, [4]),
        ({"principal": "sub:other"}, [3]),
        ({"request_id": "r2"}, [2]),
        ({"method": "GET"}, [1]),
        ({"status": 403}, [2]),
        ({"outcome": "denied"}, [2]),
        ({"endpoint_prefix": "/api/sales"}, [4]),
        ({"endpoint_prefix": "/api/%"}, []),
        ({"endpoint_prefix": "/api_"}, []),
        ({"since": NOW + timedelta(seconds=3)}, [4, 3]),
        ({"until": NOW + timedelta(seconds=3)}, [2, 1]),
        ({"since": NOW + timedelta(seconds=2), "until": NOW + timedelta(seconds=4), "gateway": "platform"}, [3, 2]),
        ({"limit": 2}, [4, 3]),
        ({"limit": 0}, [4]),
        ({"gateway": "' OR 1=1 --"}, []),
    ],
)
async def test_rows_are_found_by_what_people_ask_for(
    log: AuditLog, query: dict[str, object], numbers: list[int]
) -> None:
    await log.write(
        [
            entry(1, method="GET"),
            entry(2, status=403, outcome="denied", request_id="r2"),
            entry(3, principal="sub:other"),
            entry(4, gateway="sales", endpoint="/api/sales/leads"),
        ]
    )
    assert await found(log, **query) == [f"e{number}" for number in numbers]


async def test_a_listing_goes_on_where_it_ended(log: AuditLog) -> None:
    await log.write([entry(number) for number in range(5)])
    pages, before = [], None
    while rows := await log.find(AuditQuery(limit=2, before=before)):
        pages.append([row.entry.event_id for row in rows])
        before = rows[-1].row_id
    assert pages == [["e4", "e3"], ["e2", "e1"], ["e0"]]


async def test_what_a_client_sends_can_neither_lose_its_row_nor_block_the_batch(log: AuditLog) -> None:
    odd = entry(1, user_agent="\x00\ud800" + "x" * 10_000, endpoint="/" + "e" * 70_000, request_id="r" * 500)
    await log.write([odd, entry(2)])
    second, first = await log.find(AuditQuery())
    assert second.entry.event_id == "e2"
    assert first.entry.user_agent.endswith("xxx")
    assert "\x00" not in first.entry.user_agent
    assert len(first.entry.user_agent) == 512


async def test_writers_at_once_all_write(log: AuditLog, database: Database) -> None:
    await asyncio.gather(*(log.write([entry(batch * 10 + n) for n in range(10)]) for batch in range(10)))
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM admin_audit_logs")) == 100
