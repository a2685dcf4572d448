"""Try a candidate on some proxies of a group, and let the others follow only if it does no harm there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from xds.load_reports.reports import Traffic
from xds.publisher import Publisher
from xds.rollout import Canary
from xds.snapshot import Snapshot

# How often the proxies report while a canary runs, and how often their answers and figures are looked at.
REPORT_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.1
# How many node ids a sentence holds.
_NAMED: Final = 5


class TrafficReports(Protocol):
    """What the proxies say about their traffic (xDS load reporting)."""

    def watch(self, group: str, interval: float) -> AbstractContextManager[object]:
        """Have the group's proxies report every `interval` seconds until it is left."""

    def totals(self, group: str) -> Mapping[str, Traffic]:
        """By node id, all that it has reported; nodes that do not report are missing."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Errors have risen with at least `errors` of them, at a rate above `factor` times the baseline's rate and above
    the baseline's rate plus `margin`."""

    errors: int = 5
    factor: float = 2.0
    margin: float = 0.01

    def exceeded(self, canary: Traffic, baseline: Traffic) -> bool:
        usual = _rate(baseline)
        return canary.errors >= self.errors and _rate(canary) > max(self.factor * usual, usual + self.margin)


class Verdict(StrEnum):
    PASSED = "passed"
    REFUSED = "refused"
    ERRORS_ROSE = "errors_rose"
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True)
class Figures:
    """Traffic while the canary ran, of its nodes and of the others, and that of its nodes before."""

    canary: Traffic
    others: Traffic
    before: Traffic

    @property
    def baseline(self) -> Traffic:
        """What the canary is compared with: the other nodes, or where these say nothing, what it did before."""
        return self.others if self.others.requests else self.before

    def __str__(self) -> str:
        canary, baseline = self.canary, self.baseline
        whose = "of the other nodes" if self.others.requests else "of the same nodes before"
        return (
            f"{canary.errors} of {canary.requests} requests failed, beside {baseline.errors} of "
            f"{baseline.requests} {whose}"
        )


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """`detail` tells the operator how it ended; `nodes` are the ids of those that had the candidate."""

    verdict: Verdict
    detail: str
    nodes: tuple[str, ...]
    figures: Figures


async def run_canary(
    publisher: Publisher,
    group: str,
    candidate: Snapshot,
    percent: int,
    *,
    soak: float,
    within: float,
    traffic: TrafficReports,
    thresholds: Thresholds = Thresholds(),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> CanaryOutcome:
    """Let `percent` of the group's connected proxies run the candidate, and then all of them, or none.

    They have `within` seconds to accept all of it, and must then run it for `soak` seconds without a refusal and
    without a rise of errors; who loses its connection has `within` seconds to be back. When it returns the canary has
    ended, also when it is cancelled: what did not pass is given back. ValueError as from `Publisher.set_canary`.
    """
    with traffic.watch(group, REPORT_SECONDS):
        if soak > 0:
            # The first reports tell of the time before, too: they are what the counting starts from.
            await sleep(REPORT_SECONDS)
        totals = dict(traffic.totals(group))
        canary = publisher.set_canary(group, candidate, percent)
        trial = _Trial(publisher, group, canary, traffic, totals, thresholds, clock, sleep)
        outcome = None
        try:
            outcome = await trial.run(soak, within)
        finally:
            if publisher.canary(group) is canary:
                publisher.end_canary(group, promote=outcome is not None and outcome.verdict is Verdict.PASSED)
        return outcome


@dataclass(frozen=True, slots=True)
class _Trial:
    """`start` are the totals at the beginning."""

    publisher: Publisher
    group: str
    canary: Canary
    traffic: TrafficReports
    start: Mapping[str, Traffic]
    thresholds: Thresholds
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[object]]

    async def run(self, soak: float, within: float) -> CanaryOutcome:
        began = last_whole = self.clock()
        soaking: float | None = None
        while True:
            now = self.clock()
            if ended := self._ended_by_answers() or self._ended_by_errors():
                return ended
            behind = self._behind()
            if not behind:
                last_whole = now
                soaking = now if soaking is None else soaking
                if now - soaking >= soak:
                    return self._outcome(Verdict.PASSED, f"{_list(self.canary.nodes)} ran it for {soak:g} s")
            elif now - (began if soaking is None else last_whole) >= within:
                return self._outcome(Verdict.TIMED_OUT, f"not accepted within {within:g} s by {_list(behind)}")
            await self.sleep(_LOOK_SECONDS)

    def _ended_by_answers(self) -> CanaryOutcome | None:
        if self.publisher.canary(self.group) is not self.canary:
            return self._outcome(Verdict.ABANDONED, "another configuration was published meanwhile")
        if self.canary.refused:
            node_id, refused = next(iter(sorted(self.canary.refused.items())))
            where = f" ({refused[0].origin})" if refused[0].origin else ""
            return self._outcome(
                Verdict.REFUSED, f"{node_id} refused {refused[0].name!r}{where}: {refused[0].message.strip()}"
            )
        if not self._connected():
            return self._outcome(Verdict.ABANDONED, "none of its nodes is connected")
        return None

    def _ended_by_errors(self) -> CanaryOutcome | None:
        figures = self._figures()
        if self.thresholds.exceeded(figures.canary, figures.baseline):
            return self._outcome(Verdict.ERRORS_ROSE, "errors rose")
        return None

    def _connected(self) -> set[str]:
        return set(self.canary.nodes).intersection(self.publisher.nodes.ids(self.group))

    def _behind(self) -> list[str]:
        """Nodes of the canary that are connected and do not run the candidate."""
        served = self.publisher.candidate(self.group)
        live = self.publisher.nodes.live_of(self.group, self.canary.nodes)
        return [node_id for node_id, version in live.items() if served is None or version != served.version]

    def _figures(self) -> Figures:
        canary = others = before = Traffic()
        for node_id, total in self.traffic.totals(self.group).items():
            start = self.start.get(node_id, Traffic())
            # Who counts anew since it is another process has counted only since then.
            again = total.requests < start.requests or total.errors < start.errors
            since = total if again else Traffic(total.requests - start.requests, total.errors - start.errors)
            if node_id in self.canary.nodes:
                canary, before = canary + since, before + start
            else:
                others += since
        return Figures(canary, others, before)

    def _outcome(self, verdict: Verdict, detail: str) -> CanaryOutcome:
        figures = self._figures()
        said = [detail, str(figures)] if figures.canary.requests else [detail]
        silent = [node_id for node_id in self.canary.nodes if node_id not in self.traffic.totals(self.group)]
        if silent:
            said.append(f"errors could not be watched on {_list(silent)}, which reported no load")
        if len(self.canary.nodes) == self.publisher.nodes.count(self.group) == 1:
            said.append("it is the only node of the group")
        return CanaryOutcome(verdict, "; ".join(said), self.canary.nodes, figures)


def _rate(traffic: Traffic) -> float:
    return traffic.errors / traffic.requests if traffic.requests else 0.0


def _list(node_ids: Iterable[str]) -> str:
    """The first few, so that a group of hundreds fits into a sentence."""
    ids = list(node_ids)
    return ", ".join(ids[:_NAMED]) + (f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else "")


__all__ = [
    "Canary",
    "CanaryOutcome",
    "Figures",
    "Thresholds",
    "Traffic",
    "TrafficReports",
    "Verdict",
    "run_canary",
]
