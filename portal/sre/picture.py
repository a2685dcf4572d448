"""The federation as a picture: where each gateway and its Envoys stand. Numbers only; the template draws."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from portal.sre.federation import GatewayShown

CENTRAL: Final = "central"
_HIGH: Final = 84.0
_GAP: Final = 16.0
_BETWEEN: Final = 52.0
_MOST_DOTS: Final = 8
_STEP: Final = 16.0


@dataclass(frozen=True, slots=True)
class Dot:
    """An Envoy. `live`: it runs what it shall."""

    x: float
    y: float
    live: bool


@dataclass(frozen=True, slots=True)
class Box:
    """A gateway, with the line from its upper edge to what stands before it, if anything does."""

    gateway: GatewayShown
    x: float
    y: float
    width: float
    dots: tuple[Dot, ...]
    line: tuple[float, float, float, float] | None

    @property
    def height(self) -> float:
        return _HIGH


@dataclass(frozen=True, slots=True)
class Picture:
    """Of one size, in pixels."""

    name: str
    width: float
    height: float
    boxes: tuple[Box, ...]


def pictures(gateways: Sequence[GatewayShown]) -> tuple[Picture, Picture]:
    """For a wide screen and for a telephone: the edge first, and behind it the others by their names."""
    return _drawn("wide", 1040.0, 5, gateways), _drawn("small", 350.0, 2, gateways)


def in_words(gateways: Sequence[GatewayShown]) -> str:
    """The same for whoever does not see it."""
    return "; ".join(f"{one.gateway}: {one.condition}, {one.live} of {one.envoys} Envoys live" for one in gateways)


def _drawn(name: str, width: float, columns: int, gateways: Sequence[GatewayShown]) -> Picture:
    edge = [one for one in gateways if one.gateway == CENTRAL]
    others = sorted((one for one in gateways if one.gateway != CENTRAL), key=lambda one: one.gateway)
    each = (width - _GAP * (columns + 1)) / columns
    boxes = []
    top = _GAP
    from_x = width / 2
    for one in edge:
        boxes.append(_box(one, from_x - each / 2, top, each, None))
        top += _HIGH + _BETWEEN
    for place, one in enumerate(others):
        x = _GAP + (place % columns) * (each + _GAP)
        y = top + (place // columns) * (_HIGH + _GAP)
        first = bool(edge) and place < columns
        line = (from_x, top - _BETWEEN, x + each / 2, y) if first else None
        boxes.append(_box(one, x, y, each, line))
    bottom = max((one.y + _HIGH for one in boxes), default=0.0)
    return Picture(name, width, bottom + _GAP, tuple(boxes))


def _box(one: GatewayShown, x: float, y: float, width: float, line: tuple[float, float, float, float] | None) -> Box:
    count = min(one.envoys, _MOST_DOTS)
    dots = tuple(Dot(x + 18 + number * _STEP, y + 66, number < one.live) for number in range(count))
    return Box(one, x, y, width, dots, line)
