"""Limits that a Check answers for: authorization's port, over the limiter of the same process (docs/adr/0027).

What is charged, what the client is told and what is counted are those of the rate-limit service: its descriptors
(policy.limit_shapes), its limiter, and the parts that its answers are made of. Only the call is not made.
"""

import time
from collections.abc import Sequence
from typing import Final

import structlog

from authz.decision import Refusal
from authz.limits import Counted, Counting
from authz.reasons import Reason
from policy.descriptors import ADDRESS, CALLER, TIER
from ratelimit.answer import RETRY_AFTER, Figures, figure_names, fixed_headers, retry_after, wants_headers
from ratelimit.limiter import RateLimiter
from ratelimit.local_limits import LocalOutcome
from ratelimit.matching import Plan
from ratelimit.plan_cache import PlanMemory
from ratelimit.request import Descriptor, Request
from ratelimit.rules import Rule
from ratelimit.store import Outcome, Unavailable

_LOG: Final = structlog.get_logger(__name__)
# What Envoy says where it has no answer of the rate-limit service (xds.compiler.local_replies).
_UNAVAILABLE: Final = "Nobody could count the request"
_UNCOUNTED: Final = Counted(None)
_RETRY_AFTER: Final = RETRY_AFTER.lower()


class OneHop:
    """authz.limits.Limits for one gateway."""

    def __init__(self, gateway: str, limiter: RateLimiter, size: int = 4096) -> None:
        """`size`: at least so many of the latest callers' counters are known without looking for them again."""
        self._domain, self._limiter = gateway, limiter
        self._plans: PlanMemory[Counting, _Answers] = PlanMemory(
            limiter,
            size,
            plan=lambda asked: limiter.plan(self._request(asked)),
            writer=_Answers,
            length=lambda asked: len(asked.caller) + len(asked.address),
        )

    def count_now(self, asked: Counting) -> Counted | None:
        started = time.perf_counter()
        try:
            plan, answers = self._plans.find(asked)
            outcome = self._limiter.decide_now(plan)
            if outcome is None:
                return None
            counted = answers.of(outcome)
        except Exception as error:  # noqa: BLE001 whatever it was, no request may pass by it
            counted = self._broken(error, 1)
        self._limiter.metrics.took(time.perf_counter() - started, 1)
        return counted

    async def count(self, asked: Sequence[Counting]) -> list[Counted]:
        started = time.perf_counter()
        try:
            found = [self._plans.find(each) for each in asked]
            outcomes = await self._limiter.decide_many([plan for plan, _ in found])
            counted = [answers.of(outcome) for (_, answers), outcome in zip(found, outcomes, strict=True)]
        except Exception as error:  # noqa: BLE001 whatever it was, no request may pass by it
            counted = [self._broken(error, len(asked))] * len(asked)
        self._limiter.metrics.took(time.perf_counter() - started, len(asked))
        return counted

    async def give_back(self, asked: Sequence[Counting]) -> None:
        await self._limiter.decide_many([self._limiter.plan(self._request(each, -1)) for each in asked])

    def _request(self, asked: Counting, hits: int = 1) -> Request:
        values = {TIER: asked.tier, CALLER: asked.caller, ADDRESS: asked.address}
        return Request(self._domain, tuple(Descriptor(shape.descriptor(values), hits) for shape in asked.limits))

    def _broken(self, error: Exception, requests: int) -> Counted:
        self._limiter.metrics.failed(requests)
        # Its type, not its text, which may hold a descriptor.
        _LOG.error("limit_failed", error=type(error).__name__, gateway=self._domain)
        return _unavailable(type(error).__name__)


class _Answers:
    """What those are told who are counted by the same rules."""

    def __init__(self, plan: Plan) -> None:
        self._refusals = [_refusal(rule) for rule in plan.limited]
        self._figures = Figures(plan)
        self._names = tuple(name.lower() for name in figure_names(plan.names))
        self._headed = wants_headers(plan, admitted=True), wants_headers(plan, admitted=False)
        self._fixed = tuple((name.lower(), value) for name, value in fixed_headers(plan, admitted=True))

    def of(self, outcome: Outcome | Unavailable) -> Counted:
        if isinstance(outcome, Unavailable):
            return _unavailable(outcome.loss.value)
        admitted, readings = outcome
        if not readings:
            return _UNCOUNTED
        headers: tuple[tuple[str, str], ...] = ()
        if self._headed[not admitted]:
            headers = (*zip(self._names, self._figures.of(readings), strict=True), *self._fixed)
        if admitted:
            return Counted(None, headers, charged=not isinstance(outcome, LocalOutcome))
        binding = self._figures.binding(readings)
        wait = retry_after(readings[binding])
        if headers and wait is not None:
            headers = (*headers, (_RETRY_AFTER, wait))
        return Counted(self._refusals[binding], headers)


def _refusal(rule: Rule) -> Refusal:
    return Refusal(Reason.RATE_LIMITED, f"limit {rule.name}", rule.refusal, named=rule.code)


def _unavailable(cause: str) -> Counted:
    return Counted(Refusal(Reason.LIMITS_UNAVAILABLE, f"store {cause}", _UNAVAILABLE))
