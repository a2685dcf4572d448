"""What may stand in a file of envoyproxy/ratelimit's YAML format.

Read as its own reader does: an absent value and `null` are the same, and what looks like a number or a truth where a
text belongs (`value: 007`, `value: True`) is the text that is written, because that is what Envoy sends.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from policy.problem import FieldPath, Problem
from policy.yaml_nodes import Document, Entry, Node
from ratelimit.request import Unit

_UNITS: Final = tuple(unit.value for unit in Unit)
_TEXTS: Final = frozenset({"domain", "key", "value", "name", "unit"})
_FREE: Final = "metadata"


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Replaced(_Model):
    name: Annotated[str, Field(min_length=1)]


class RateLimit(_Model):
    """So many per unit, or `unlimited`. `name`: by which other rules may replace it."""

    name: str = ""
    unit: Annotated[Unit, BeforeValidator(_lower)] | None = None
    requests_per_unit: Annotated[int, Field(strict=True, ge=0, le=(1 << 32) - 1)] = 0
    unlimited: bool = False
    replaces: tuple[Replaced, ...] = ()


class ConfiguredDescriptor(_Model):
    """A key, with a value, a pattern of values (`foo*`, `/api/*/status`) or any; a limit, and descriptors below it."""

    key: Annotated[str, Field(min_length=1)]
    value: str = ""
    rate_limit: RateLimit | None = None
    descriptors: "tuple[ConfiguredDescriptor, ...]" = ()
    shadow_mode: bool = False
    quota_mode: bool = False
    share_threshold: bool = False
    detailed_metric: bool = False
    value_to_metric: bool = False
    metadata: dict[str, JsonValue] = {}

    @property
    def label(self) -> str:
        return f"{self.key}_{self.value}" if self.value else self.key

    @property
    def is_pattern(self) -> bool:
        return "*" in self.value


class ConfigFile(_Model):
    """One file: a domain and its descriptors."""

    domain: Annotated[str, Field(min_length=1)]
    descriptors: tuple[ConfiguredDescriptor, ...] = ()

    def problems(self) -> list[Problem]:
        return list(_problems(("descriptors",), self.descriptors))


def _problems(at: FieldPath, descriptors: Sequence[ConfiguredDescriptor]) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for index, one in enumerate(descriptors):
        here = (*at, index)
        if (one.key, one.value) in seen:
            yield Problem((*here, "key"), f"duplicate descriptor composite key {one.label!r}", "each pair once")
        seen.add((one.key, one.value))
        if "*" in one.key:
            yield Problem((*here, "key"), "a key stands for itself alone", "a key without *, and * in its value")
        if one.share_threshold and not one.is_pattern:
            yield Problem((*here, "share_threshold"), "only values with a * can share", "a value with * in it")
        if one.rate_limit is not None:
            yield from _limit_problems((*here, "rate_limit"), one.rate_limit)
        yield from _problems((*here, "descriptors"), one.descriptors)


def _limit_problems(at: FieldPath, limit: RateLimit) -> Iterator[Problem]:
    if limit.unlimited and limit.unit is not None:
        yield Problem((*at, "unit"), "an unlimited rate has no unit", "unlimited, or a unit")
    if not limit.unlimited and limit.unit is None:
        yield Problem(at, "a rate limit needs a unit", f"unit: one of {', '.join(_UNITS)}")
    for index, replaced in enumerate(limit.replaces):
        if replaced.name == limit.name:
            yield Problem((*at, "replaces", index, "name"), "a rule cannot replace itself", "the name of another rule")


def as_written(document: Document) -> None:
    """Make texts of what stands where texts belong, and drop what is null, in place."""
    waiting = [] if document.root is None else [document.root]
    while waiting:
        node = waiting.pop()
        if isinstance(node.content, list):
            waiting += node.content
        elif isinstance(node.content, dict):
            _clean(node.content, document.lines)
            waiting += [entry.value for name, entry in node.content.items() if name != _FREE]


def _clean(entries: dict[str, Entry], lines: Sequence[str]) -> None:
    for name, entry in list(entries.items()):
        value = entry.value
        if value.content is None and not value.suspect:
            del entries[name]
        elif name in _TEXTS and isinstance(value.content, int | float):
            value.content = _source(value, lines)


def _source(node: Node, lines: Sequence[str]) -> str:
    return lines[node.line][node.column : node.column + node.width]
