"""What Envoys tell is kept whole, or put back; people are named by pseudonyms; room is bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from authz.audit import redacted
from telemetry.access_log.collector import AccessLogCollector
from telemetry.access_log.metrics import AccessLogMetrics
from telemetry.access_log.record import AccessRecord
from telemetry.access_log.usage import Figures, UsageKey
from telemetry.access_log.window import Window
from tests.unit.telemetry.test_usage import RECORD


class Kept:
    def __init__(self) -> None:
        self.lost = False
        self.records: list[AccessRecord] = []
        self.requests = 0

    async def __call__(self, records: Sequence[AccessRecord], figures: Mapping[UsageKey, Figures]) -> int:
        if self.lost:
            raise OSError("away")
        self.records += records
        self.requests += sum(one.requests for one in figures.values())
        return 0


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def collector(registry: CollectorRegistry, capacity: int = 100) -> AccessLogCollector:
    window = Window(lambda: RECORD.at)
    return AccessLogCollector(
        AccessLogMetrics(registry), window, lambda name: name and f"<{len(name)}>", redacted, capacity
    )


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"apibank_{name}", labels)


async def test_what_was_told_is_handed_over_once(registry: CollectorRegistry) -> None:
    told, kept = collector(registry), Kept()
    told.take([RECORD, RECORD])
    await told.flush(kept)
    await told.flush(kept)
    assert kept.records == [RECORD, RECORD]
    assert kept.requests == 2
    assert value(registry, "requests_total", gateway="marketing", tier="business", status="2xx") == 2
    assert value(registry, "access_log_waiting") == 0


async def test_what_the_database_did_not_take_is_offered_again(registry: CollectorRegistry) -> None:
    told, kept = collector(registry), Kept()
    kept.lost = True
    told.take([RECORD])
    with pytest.raises(OSError, match="away"):
        await told.flush(kept)
    told.take([replace(RECORD, request_id="r-2")])
    kept.lost = False
    await told.flush(kept)
    assert [one.request_id for one in kept.records] == ["r-1", "r-2"]
    assert kept.requests == 2
    assert value(registry, "access_log_write_failures_total") == 1


async def test_beyond_its_room_requests_are_counted_and_not_logged(registry: CollectorRegistry) -> None:
    told, kept = collector(registry, capacity=3), Kept()
    kept.lost = True
    told.take([RECORD] * 3)
    with pytest.raises(OSError, match="away"):
        await told.flush(kept)
    told.take([RECORD] * 4)
    assert value(registry, "access_log_dropped_total") == 4
    kept.lost = False
    await told.flush(kept)
    assert len(kept.records) == 3
    assert kept.requests == 7


async def test_nobody_is_kept_by_name(registry: CollectorRegistry) -> None:
    told, kept = collector(registry), Kept()
    told.take([replace(RECORD, caller="sub:ann@example.com", subject="ann@example.com")])
    await told.flush(kept)
    (record,) = kept.records
    assert (record.caller, record.subject) == ("sub:<15>", "<15>")


KEY = "waw_live_sk_" + "K" * 30
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0." + "S" * 80


@pytest.mark.parametrize("secret", [KEY, TOKEN])
@pytest.mark.parametrize("before", ["/api/", "/api/" + "a" * 480, "/api/" + "a" * 505, "/api/" + "a" * 2000])
async def test_no_credential_is_kept_wherever_a_client_has_put_it(
    registry: CollectorRegistry, secret: str, before: str
) -> None:
    told, kept = collector(registry), Kept()
    told.take([replace(RECORD, path=before + secret, user_agent=secret, request_id=secret)])
    escaped = "".join(f"%{ord(one):02x}" for one in secret)
    told.take([replace(RECORD, path=before + escaped, user_agent=f"curl {secret}", request_id="r-1")])
    await told.flush(kept)
    for record in kept.records:
        assert secret[-20:] not in str(record)
        assert secret[:16] not in str(record)
        assert escaped[:24] not in record.path
        assert (len(record.path) <= 512, len(record.user_agent) <= 256) == (True, True)
    assert kept.records[1].user_agent == "curl [redacted]"


def test_labels_have_a_bound(registry: CollectorRegistry) -> None:
    told = collector(registry)
    told.take(replace(RECORD, gateway=f"g-{n}", tier=f"t-{n}", status=n) for n in range(2000))
    samples = [one for family in registry.collect() for one in family.samples if one.name == "apibank_requests_total"]
    assert len(samples) < 100
    assert sum(one.value for one in samples) == 2000


@pytest.mark.requirement("R25")
async def test_requests_have_a_label_for_each_consumer_and_none_for_a_person(registry: CollectorRegistry) -> None:
    told = collector(registry, capacity=10_000)
    told.take(
        [
            replace(RECORD, caller="partner:acme", tenant=""),
            replace(RECORD, caller="agent:vision", tenant=""),
            replace(RECORD, caller="sub:ann@example.com", tenant="globex"),
            replace(RECORD, caller="sub:ann@example.com", tenant=""),
            replace(RECORD, caller="anonymous", tenant=""),
        ]
    )
    for consumer in ("partner:acme", "agent:vision", "tenant:globex", "people", "anonymous"):
        labels = {"gateway": "marketing", "consumer": consumer, "status": "2xx"}
        assert value(registry, "consumer_requests_total", **labels) == 1
    # However many there are, the series are bounded.
    told.take([replace(RECORD, caller=f"partner:p{number}") for number in range(1_000)])
    series = {
        sample.labels["consumer"]
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "apibank_consumer_requests_total"
    }
    assert len(series) == 200 + len(("people", "anonymous", "others"))
    labels = {"gateway": "marketing", "consumer": "others", "status": "2xx"}
    assert value(registry, "consumer_requests_total", **labels) == 1_000 - 197
