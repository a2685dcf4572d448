"""Limits and what is left of them, for the control API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from apibank.published import Published
from apibank.usage.question import Counter, Who, admits, concerns, counters, whose
from apibank.usage.wire import Left, UnansweredError, ask
from policy.descriptors import TIER
from policy.limits import Burst, CountingAlgorithm, Limit, Per
from policy.model import Gateway
from portal.limits_api import Record, UsageQuestion
from portal.problems import Refused
from ratelimit.request import Unit

Ask = Callable[[str, str, Sequence[tuple[tuple[str, str], ...]]], Awaitable[list[Left]]]

_MILLION: Final = 1_000_000
_WHO: Final = {Per.CALLER: "a subject, tenant, partner or agent", Per.ADDRESS: "an address"}


class LimitDesk:
    """The control API's port `Limits`: by the policies that are published, and asked of the processes that count."""

    def __init__(self, states: Mapping[str, Published], ask: Ask = ask) -> None:
        """`states`: what is published, by gateway. `ask`: how a process is asked."""
        self._states = states
        self._ask = ask

    async def limits(self, gateway: str | None) -> Sequence[Record]:
        """Every limit of a gateway, or of all. Raises Refused."""
        return [_limit(policy, name) for policy in self._policies(gateway) for name in policy.limits]

    async def usage(self, question: UsageQuestion) -> Record:
        """What is left, and who did not say. Raises Refused where nobody did, or nothing of the kind is counted."""
        try:
            who = whose(question)
        except ValueError as error:
            told = {"pointer": "/address", "rule": str(error)}
            raise Refused(422, "request_invalid", f"/address: {error}", [told]) from error
        policies = self._policies(question.gateway)
        wanted = _wanted(policies, question, who)
        answers = await asyncio.gather(*(self._left(policy, asked) for policy, asked in wanted))
        usage = [row for rows in answers if isinstance(rows, list) for row in rows]
        silent = [
            {"gateway": policy.gateway, "detail": answer}
            for (policy, _), answer in zip(wanted, answers, strict=True)
            if isinstance(answer, str)
        ]
        if silent and len(silent) == len(wanted):
            detail = "; ".join(f"{one['gateway']}: {one['detail']}" for one in silent)
            raise Refused(503, "usage_unavailable", detail, silent)
        return {"usage": usage, "unanswered": silent}

    def _policies(self, gateway: str | None) -> Sequence[Gateway]:
        published = {name: one.gateway for name, one in sorted(self._states.items()) if one.gateway is not None}
        if gateway is None:
            return list(published.values())
        if gateway not in published:
            known = ", ".join(published) or "none yet"
            raise Refused(404, "gateway_not_found", f"nothing is live of a gateway {gateway!r}; there are: {known}")
        return [published[gateway]]

    async def _left(self, policy: Gateway, asked: Sequence[Counter]) -> list[Record] | str:
        """A row for each counter, or why there are none."""
        endpoint = policy.services.ratelimit.endpoint
        try:
            left = await self._ask(endpoint, policy.gateway, [one.entries for one in asked])
        except UnansweredError as error:
            return str(error)
        # A process that has not read its file yet refuses what it does not know.
        strange = [one.name for one, has in zip(asked, left, strict=True) if has.name not in {"", one.name}]
        if strange:
            return f"its process does not know {', '.join(dict.fromkeys(strange))} yet"
        return [_row(policy, one, has) for one, has in zip(asked, left, strict=True)]


def _wanted(policies: Sequence[Gateway], question: UsageQuestion, who: Who) -> list[tuple[Gateway, Sequence[Counter]]]:
    """What to ask of whom. Raises Refused where a limit is named that is nowhere, or that counts somebody else."""
    if question.limit is not None:
        _check_limit(policies, question.gateway, question.limit, who)
    if question.gateway is None:
        policies = [policy for policy in policies if admits(policy, who)]
    asked = [(policy, counters(policy, who, question.limit, question.tier)) for policy in policies]
    return [(policy, some) for policy, some in asked if some]


def _check_limit(policies: Sequence[Gateway], gateway: str | None, name: str, who: Who) -> None:
    found = [policy.limits[name] for policy in policies if name in policy.limits]
    if not found:
        known = ", ".join(sorted({each for policy in policies for each in policy.limits})) or "none"
        where = "no gateway has a" if gateway is None else f"{gateway} has no"
        raise Refused(404, "limit_not_found", f"{where} limit {name!r}; there are: {known}")
    if not any(concerns(limit, who) for limit in found):
        whom = " or ".join(dict.fromkeys(_WHO[limit.per] for limit in found if limit.per in _WHO))
        raise Refused(422, "request_invalid", f"limit {name!r} counts per {found[0].per}: name {whom}")


def _row(policy: Gateway, counter: Counter, left: Left) -> Record:
    counted_as = [value for key, value in counter.entries[1:] if key != TIER]
    retry: float | None = 0.0 if left.passes else left.seconds if left.figure else None
    return {
        "gateway": policy.gateway,
        "limit": counter.name,
        "tier": None if counter.tier is None else counter.tier.value,
        "counted_as": next(iter(counted_as), None),
        "figure": left.figure,
        "unit": counter.limit.unit.value,
        "remaining": left.remaining,
        "retry_after_seconds": retry,
        "reset_seconds": left.seconds,
        # It refuses nobody, whatever is left.
        "shadow": counter.limit.shadow,
    }


def _limit(policy: Gateway, name: str) -> Record:
    limit = policy.limits[name]
    return {
        "gateway": policy.gateway,
        "limit": name,
        "per": limit.per.value,
        "unit": limit.unit.value,
        "algorithm": limit.counting.value,
        "figures": _figures(limit),
        "tenants": dict(limit.tenants),
        "partners": dict(limit.partners),
        "at_once": _at_once(limit),
        "time_zone": limit.time_zone if limit.counting is CountingAlgorithm.CALENDAR_QUOTA else None,
        "on_store_failure": limit.on_store_failure.value,
        "shadow": limit.shadow,
        "code": limit.code,
        "routes": [key for key, route in policy.routes.items() if name in policy.limits_of(route)],
        "description": limit.description,
    }


def _figures(limit: Limit) -> dict[str, int | None]:
    """By tier, or for all; None where there is no bound."""
    return {"all": limit.requests} if limit.tiers is None else {tier.value: limit.figure(tier) for tier in limit.tiers}


def _at_once(limit: Limit) -> Mapping[str, int] | None:
    """Of a burst: how many pass at once from idle, by tier (docs/operate/limits.md)."""
    if limit.counting is not CountingAlgorithm.GCRA:
        return None
    burst = limit.burst or Burst()
    figures = _figures(limit)
    ahead, period = (burst.rate - 1) * burst.seconds * _MILLION, Unit(limit.unit.value).microseconds
    return {tier: 1 + figure * ahead // period for tier, figure in figures.items() if figure is not None}
