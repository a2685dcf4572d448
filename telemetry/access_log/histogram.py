"""How long requests took, so that the figures of many hours can be added: an exponential histogram of scale 3.

Bucket i holds what is above base^i and at most base^(i + 1), base = 2^(1/8) (OpenTelemetry data model, "Exponential
Histogram"): a quantile read from it is off by at most 4.5 %.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

_SCALE: Final = 8
# Two microseconds, and four and a half hours.
_LOWEST: Final = -9 * _SCALE
_HIGHEST: Final = 24 * _SCALE

Histogram = dict[int, int]


def bucket(milliseconds: float) -> int:
    """The bucket of a duration; what is out of bounds is in the first or the last."""
    if milliseconds <= 2.0**-9:
        return _LOWEST
    return min(max(math.ceil(math.log2(milliseconds) * _SCALE) - 1, _LOWEST), _HIGHEST)


def count(into: Histogram, milliseconds: float) -> None:
    """One duration more."""
    index = bucket(milliseconds)
    into[index] = into.get(index, 0) + 1


def add(into: Histogram, more: Mapping[int, int]) -> None:
    for index, requests in more.items():
        into[index] = into.get(index, 0) + requests


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The duration, in milliseconds, that this share of the requests did not exceed; None where there are none."""
    total = sum(counts.values())
    if not total:
        return None
    rank, seen = max(share * total, 1.0), 0
    for index in sorted(counts):
        seen += counts[index]
        if seen >= rank:
            # The middle of the bucket, on its own scale.
            return float(2.0 ** ((index + 0.5) / _SCALE))
    raise AssertionError


def to_text(counts: Mapping[int, int]) -> str:
    """`index:count` pairs in their order, for a column of a table."""
    return " ".join(f"{index}:{counts[index]}" for index in sorted(counts))


def from_text(text: str) -> Histogram:
    """What `to_text` wrote; of several, with spaces between them, the sum. Raises ValueError."""
    # A bucket is named by few texts, however many there are: each is read once.
    sums: dict[str, int] = {}
    for pair in text.split():
        index, _, requests = pair.partition(":")
        sums[index] = sums.get(index, 0) + int(requests)
    return {int(index): requests for index, requests in sums.items()}


def merged(all_of_them: Iterable[Mapping[int, int]]) -> Histogram:
    into: Histogram = {}
    for one in all_of_them:
        add(into, one)
    return into
