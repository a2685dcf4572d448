"""Where the parts of a chart are, in its own units: no style and no script, so that a page needs neither."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_LEFT: Final = 46.0
_RIGHT: Final = 6.0
_TOP: Final = 8.0
_BOTTOM: Final = 24.0
_TICKS: Final = 4
_GAP: Final = 0.18


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of a column. `kind`: what it counts."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    words: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A line of the grid, or a word below the axis."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Column:
    """What is above one moment: parts from the bottom up, each with its words; or a value of a line."""

    label: str
    parts: tuple[tuple[str, float, str], ...] = ()
    value: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """`points`: of the lines, one list for each that is not interrupted, as SVG writes them."""

    width: float
    height: float
    left: float
    right: float
    bottom: float
    bars: tuple[Bar, ...]
    lines: tuple[str, ...]
    dots: tuple[tuple[float, float, str], ...]
    ticks: tuple[Mark, ...]
    labels: tuple[Mark, ...]


def chart(columns: Sequence[Column], *, width: float, height: float, most_labels: int) -> Chart:
    """Columns side by side; the scale ends at a round figure above the highest."""
    highest = max([sum(part[1] for part in one.parts) + (one.value or 0.0) for one in columns], default=0.0)
    step = _round_step(highest)
    top = step * _TICKS
    bottom, room = height - _BOTTOM, height - _BOTTOM - _TOP
    each = (width - _LEFT - _RIGHT) / max(len(columns), 1)
    bars: list[Bar] = []
    for index, column in enumerate(columns):
        y, x = bottom, _LEFT + index * each + each * _GAP / 2
        for kind, figure, words in column.parts:
            tall = figure / top * room
            if figure:
                # What is there is seen, however little it is beside the others.
                tall = max(tall, 1.0)
                y -= tall
                bars.append(Bar(kind, _tidy(x), _tidy(y), _tidy(each * (1 - _GAP)), _tidy(tall), words))
    lines, dots = _line(columns, each, bottom, room, top)
    every = max(math.ceil(len(columns) / most_labels), 1)
    middle = each / 2
    labels = [
        Mark(_tidy(_LEFT + index * each + middle), one.label) for index, one in enumerate(columns) if index % every == 0
    ]
    ticks = [Mark(_tidy(bottom - room * tick / _TICKS), _words(step * tick)) for tick in range(_TICKS + 1)]
    return Chart(
        width, height, _LEFT, width - _RIGHT, bottom, tuple(bars), lines, dots, tuple(ticks), tuple(labels)
    )  # fmt: skip


def _line(
    columns: Sequence[Column], each: float, bottom: float, room: float, top: float
) -> tuple[tuple[str, ...], tuple[tuple[float, float, str], ...]]:
    runs: list[list[str]] = [[]]
    dots: list[tuple[float, float, str]] = []
    for index, one in enumerate(columns):
        if one.value is None:
            runs.append([])
            continue
        x, y = _tidy(_LEFT + index * each + each / 2), _tidy(bottom - one.value / top * room)
        runs[-1].append(f"{x},{y}")
        dots.append((x, y, one.words))
    return tuple(" ".join(run) for run in runs if len(run) > 1), tuple(dots)


def _round_step(highest: float) -> float:
    """A quarter of the scale: 1, 2 or 5 times a power of ten."""
    least = highest / _TICKS
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= least * 0.999999)
    return max(step, 1.0)


def _words(figure: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if figure >= size:
            return f"{figure / size:g}{letter}"
    return f"{figure:g}"


def _tidy(number: float) -> float:
    return round(number, 1)
