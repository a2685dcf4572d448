"""A service whose store is away: quotas and late costs count in the process, and nothing of it is an error."""

from collections.abc import Sequence
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from policy.limits import StoreFailure
from policy.problem import Source
from protos import rls_pb2 as pb
from ratelimit.config_files import FileOptions, load_rules
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.rules import DomainRules, Headers, Node
from ratelimit.service import RateLimitService
from ratelimit.store import Charge, CounterStore, Loss, Outcome, Unavailable
from rpc.service import Failure, Status

OK, OVER = pb.RateLimitResponse.OK, pb.RateLimitResponse.OVER_LIMIT
FILE = """\
domain: d
descriptors:
  - {key: one, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: two, quota_mode: true, rate_limit: {unit: hour, requests_per_unit: 2}}
  - {key: cost, rate_limit: {unit: hour, requests_per_unit: 10}}
  - {key: watched, shadow_mode: true, rate_limit: {unit: hour, requests_per_unit: 1}}
"""


class Away(MemoryStore):
    """Never there."""

    async def charge_many(self, requests: Sequence[Sequence[Charge]]) -> list[Outcome | Unavailable]:
        return [Unavailable(Loss.UNREACHABLE) for _ in requests]


class Asked:
    """The service over a store that is away."""

    def __init__(self, mode: StoreFailure, overrun: bool) -> None:
        form = DomainRules("", Node(), Headers.NEVER, overrun=overrun, on_store_failure=mode)
        rules = load_rules([Source("file.yaml", FILE)], FileOptions(form=form))
        self.registry = CollectorRegistry()
        limiter = RateLimiter(cast(CounterStore, Away()), RateLimitMetrics(self.registry))
        limiter.install_all(rules)
        self.service = RateLimitService(limiter)

    async def __call__(self, hits: int, *keys: str) -> int | Status:
        request = pb.RateLimitRequest(domain="d")
        for key in keys:
            one = request.descriptors.add()
            one.entries.add(key=key, value="v")
            one.hits_addend.value = hits
        begun = self.service.begin(request.SerializeToString(), 0.0)
        assert not isinstance(begun, Failure)
        (answer,) = await self.service.settle([begun])
        if isinstance(answer, Failure):
            return answer.status
        return pb.RateLimitResponse.FromString(answer).overall_code


@pytest.mark.parametrize("overrun", [False, True])
async def test_quotas_refuse_together_also_where_the_process_counts_by_itself(overrun: bool) -> None:
    asked = Asked(StoreFailure.LOCAL, overrun)
    assert [await asked(1, "one", "two") for _ in range(4)] == [OK, OK, OVER, OVER]


async def test_a_late_cost_uses_up_what_is_left_of_the_process_share() -> None:
    asked = Asked(StoreFailure.LOCAL, overrun=True)
    assert [await asked(hits, "cost") for hits in (7, 8, 0)] == [OK, OVER, OVER]
    kept = Asked(StoreFailure.LOCAL, overrun=False)
    assert [await kept(hits, "cost") for hits in (7, 8, 0)] == [OK, OVER, OK]


@pytest.mark.parametrize("hits", [0, 1, 5])
async def test_what_passes_uncounted_is_no_error_whatever_it_costs(hits: int) -> None:
    asked = Asked(StoreFailure.OPEN, overrun=True)
    assert await asked(hits, "cost", "watched") == OK
    assert asked.registry.get_sample_value("apibank_ratelimit_failures_total") == 0


@pytest.mark.parametrize("hits", [0, 1, 5])
async def test_what_is_only_watched_passes_and_what_is_insisted_on_does_not(hits: int) -> None:
    asked = Asked(StoreFailure.CLOSED, overrun=True)
    assert await asked(hits, "watched") == OK
    assert await asked(hits, "watched", "cost") is Status.UNAVAILABLE
    assert asked.registry.get_sample_value("apibank_ratelimit_failures_total") == 0
