"""A trace as it is read: each span below the one that it was made for, and where in the whole it began and ended."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_CALLS: Final = (
    (re.compile(r"async envoy\.service\.auth\.\S+ egress"), "authorization"),
    (re.compile(r"async envoy\.service\.ratelimit\.\S+ egress"), "limits"),
)
_ROUTER: Final = re.compile(r"router (\S+) egress")
_DEEPEST: Final = 8
_WHOLE: Final = 100.0
# Less is not to be seen.
_NARROWEST: Final = 0.4


@dataclass(frozen=True, slots=True)
class SpanShown:
    """One span as it is stored (records.traces); see telemetry.traces.span for the units."""

    span_id: str
    parent_id: str
    service: str
    name: str
    start: float
    duration: float
    status: int
    failed: bool
    attributes: Mapping[str, str]

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "SpanShown":
        return cls(**{name: row[name] for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the picture. `left` and `width` in hundredths of the whole trace; `deep`: how far it is indented."""

    span: SpanShown
    words: str
    deep: int
    after: float
    left: float
    width: float

    @property
    def mood(self) -> str:
        if self.span.failed or self.span.status >= 500:
            return "bad"
        return "warn" if self.span.status >= 400 else "good"


def waterfall(spans: Sequence[SpanShown]) -> Sequence[Step]:
    """Parents before their children, those of one parent as they began; what has lost its parent stands by itself.

    Whoever tells of spans may name any as their parents, also each other.
    """
    known = {span.span_id for span in spans}
    below: dict[str, list[SpanShown]] = {}
    for span in sorted(spans, key=lambda one: one.start):
        below.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    begin = min((span.start for span in spans), default=0.0)
    end = max((span.start + span.duration / 1e3 for span in spans), default=0.0)
    whole = max(end - begin, 1e-9)
    steps: list[Step] = []
    shown: set[str] = set()

    def show(first: SpanShown) -> None:
        waiting = [(first, 0)]
        while waiting:
            span, deep = waiting.pop()
            if span.span_id in shown:
                continue
            shown.add(span.span_id)
            left = (span.start - begin) / whole * _WHOLE
            width = min(max(span.duration / 1e3 / whole * _WHOLE, _NARROWEST), _WHOLE)
            after = (span.start - begin) * 1e3
            steps.append(Step(span, _words(span.name), deep, after, min(left, _WHOLE - width), width))
            waiting += [(one, min(deep + 1, _DEEPEST)) for one in reversed(below.get(span.span_id, []))]

    for span in below.get("", []):
        show(span)
    for span in spans:
        # Those that name each other.
        show(span)
    return steps


def _words(name: str) -> str:
    for pattern, words in _CALLS:
        if pattern.fullmatch(name):
            return words
    router = _ROUTER.fullmatch(name)
    return name if router is None else f"call to {router[1]}"
