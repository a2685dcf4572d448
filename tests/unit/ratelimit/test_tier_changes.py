"""A caller whose tier changes in mid-day, by the limits of a shipped policy and the store that counts."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from policy.limits import Limit
from policy.model import Gateway
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Descriptor, Request
from ratelimit.store import Outcome
from tests.unit.ratelimit.test_policy_limits import gateway

SECOND = 1_000_000
HOUR = 3600 * SECOND
MORNING = 1_764_061_200 * SECOND  # 09:00 UTC


class Marketing:
    """Its limits, and a clock that the test moves."""

    def __init__(self) -> None:
        self.now = MORNING
        self.policy = gateway("marketing")
        store = MemoryStore(steady=lambda: self.now, wall=lambda: self.now)
        self.limiter = RateLimiter(store, RateLimitMetrics(CollectorRegistry()))
        self.limiter.replace_rules(self.policy)

    def call(self, tier: str, caller: str = "sub:jane") -> bool:
        entries = [
            (("limit", name), ("tier", tier), ("caller", caller))
            for name, limit in self.policy.limits.items()
            if limit.tiers is None or tier in limit.tiers
        ]
        planned = self.limiter.plan(Request("marketing", tuple(map(Descriptor, entries))))
        (outcome,) = asyncio.run(self.limiter.decide_many([planned]))
        assert isinstance(outcome, Outcome)
        return outcome.admitted

    def with_limit(self, name: str, **changed: object) -> Gateway:
        limit = self.policy.limits[name]
        fields = {**limit.model_dump(exclude_unset=True), **changed}
        limits = {**self.policy.limits, name: Limit.model_validate(fields)}
        return self.policy.model_copy(update={"limits": limits})


@pytest.mark.requirement("R42", "R43")
def test_who_upgrades_after_the_tenth_request_goes_on_at_once_and_who_goes_back_has_no_new_day() -> None:
    it = Marketing()
    assert [it.call("free") for _ in range(11)] == [True] * 10 + [False]
    it.now += SECOND
    assert all(it.call("business") for _ in range(50))
    it.now += HOUR
    assert not it.call("free")
    it.now = MORNING + 15 * HOUR - 1
    assert not it.call("free")
    it.now += 1
    assert it.call("free")


@pytest.mark.requirement("R42")
def test_a_day_that_is_made_larger_or_smaller_in_mid_day_keeps_its_count() -> None:
    it = Marketing()
    assert all(it.call("free") for _ in range(8))
    day = next(name for name, limit in it.policy.limits.items() if limit.unit.value == "day")
    for figure, left in ((12, 4), (5, 0), (13, 1)):
        it.limiter.replace_rules(it.with_limit(day, tiers={"free": figure}))
        assert [it.call("free") for _ in range(left + 1)] == [True] * left + [False]
