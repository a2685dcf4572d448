"""Requests as the telemetry service writes them down."""

from dataclasses import asdict

from apibank.telemetry_service import Store
from records.database import Database
from records.request_log import RequestLog
from records.usage import Usage
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import UsageCounter

PARTNER = "partner:person-user_12345"


def request(at: float, caller: str = PARTNER, status: int = 200, **changes: object) -> AccessRecord:
    about: dict[str, object] = {
        "at": at,
        "gateway": "central",
        "node": "central-1",
        "request_id": "r-1",
        "method": "POST",
        "path": "/api/marketing/content",
        "route": "marketing",
        "status": status,
        "details": "via_upstream",
        "flags": "",
        "duration": 12.0,
        "upstream_duration": 8.0,
        "upstream": "marketing-gateway",
        "attempts": 1,
        "octets_in": 100,
        "octets_out": 200,
        "address": "203.0.113.7",
        "user_agent": "test",
        "caller": caller,
    }
    return AccessRecord(**(about | changes))  # type: ignore[arg-type]


async def tell(database: Database, *records: AccessRecord) -> None:
    """Have the telemetry service write these."""
    counter = UsageCounter()
    counter.count(records)
    await Store(Usage(database), RequestLog(database)).keep(records, counter.take())


def both_hops(one: AccessRecord, route: str = "content") -> tuple[AccessRecord, AccessRecord]:
    """The same request as central and then marketing tell of it."""
    return one, AccessRecord(**{**asdict(one), "gateway": "marketing", "node": "marketing-1", "route": route})
