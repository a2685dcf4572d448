"""What came of a load: durations, answers, and whether the target is met."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

# A limit that does what it shall is no failure of the federation; it is told apart.
LIMITED = 429
# Below this share of the rate that was offered, the client could not keep up, and no figure is worth anything.
_KEPT_UP = 0.97
# Of what was not limited, so many may fail; more is a breaking point.
MOST_FAILED = 0.001


@dataclass(slots=True)
class Samples:
    """Milliseconds of each request from the moment it was due, and answers by what they were; 0 is none."""

    offered: int = 0
    took: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    whys: Counter[str] = field(default_factory=Counter)

    def add(self, took: float, late: float, status: int, why: str = "") -> None:
        """`late`: milliseconds after its moment that the client sent it. `why`: of what is no good answer."""
        self.took.append(took)
        self.late.append(late)
        self.answers[status] += 1
        if why:
            self.whys[why] += 1


@dataclass(frozen=True, slots=True)
class Result:
    """Rates a minute, durations in milliseconds. `target`: the p95 that is asked for, None where none is."""

    name: str
    offered: float
    answered: float
    good: int
    limited: int
    failed: int
    p50: float
    p95: float
    p99: float
    longest: float
    late_p99: float
    target: float | None
    answers: Mapping[int, int]
    whys: Mapping[str, int]

    @property
    def verdict(self) -> str:
        """`met`, or in words what is not."""
        wrong = []
        if self.answered < _KEPT_UP * self.offered:
            wrong.append(f"only {self.answered:.0f} of {self.offered:.0f} a minute were answered in time")
        sent = self.good + self.failed
        if self.failed > MOST_FAILED * sent:
            wrong.append(f"{self.failed} of {sent} failed")
        if self.target is not None and self.p95 > self.target:
            wrong.append(f"p95 {self.p95:.0f} ms is above {self.target:.0f} ms")
        return "; ".join(wrong) or "met"

    @property
    def is_met(self) -> bool:
        return self.verdict == "met"


def result_of(name: str, samples: Samples, seconds: float, target: float | None) -> Result:
    """`seconds`: for which requests were offered."""
    good = sum(count for status, count in samples.answers.items() if 200 <= status < 400)
    limited = samples.answers[LIMITED]
    answered = len(samples.took)
    return Result(
        name=name,
        offered=samples.offered / seconds * 60,
        answered=answered / seconds * 60,
        good=good,
        limited=limited,
        failed=answered - good - limited,
        p50=quantile(samples.took, 0.5),
        p95=quantile(samples.took, 0.95),
        p99=quantile(samples.took, 0.99),
        longest=max(samples.took, default=math.nan),
        late_p99=quantile(samples.late, 0.99),
        target=target,
        answers=dict(sorted(samples.answers.items())),
        whys=dict(samples.whys.most_common(5)),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share of all does not exceed (nearest rank); NaN where there are none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else math.nan


def table(results: Sequence[Result]) -> str:
    """For people."""
    heads = ("scenario", "offered/min", "answered/min", "p50", "p95", "p99", "max", "good", "429", "failed", "target")
    rows = [
        (
            one.name, f"{one.offered:.0f}", f"{one.answered:.0f}", f"{one.p50:.1f}", f"{one.p95:.1f}", f"{one.p99:.1f}",
            f"{one.longest:.0f}", str(one.good), str(one.limited), str(one.failed),
            "-" if one.target is None else f"p95 < {one.target:.0f}",
        )
        for one in results
    ]  # fmt: skip
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows)]
    for one in results:
        lines.append(f"{one.name}: {one.verdict}")
        if one.whys:
            lines += [f"  {count} x {why}" for why, count in one.whys.items()]
        if one.late_p99 > 0.1 * max(one.p99, 1.0):
            lines.append(f"  the client itself was late: 99 of 100 requests left within {one.late_p99:.1f} ms")
    return "\n".join(lines)
