"""Which proxies a question is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import re2

# RE2 compares in linear time; these bound what it compiles.
_LONGEST_REGEX: Final = 1024
_REGEX_BYTES: Final = 1 << 20


class Kind(StrEnum):
    """As the fields of Envoy's StringMatcher are called."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "safe_regex"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a node id is compared with. Case does not matter if `ignore_case`, except to a regular expression."""

    kind: Kind
    text: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Why a question gets no answer, for whoever asked it."""

    reason: str


Predicate = Callable[[str], bool]


def matching(patterns: Iterable[Pattern | None]) -> Predicate | Unanswerable:
    """Whether a node id matches one of the patterns; None matches any id, and no patterns at all match every id."""
    predicates: list[Predicate] = []
    for number, pattern in enumerate(patterns):
        found = _everything if pattern is None else _predicate(pattern)
        if isinstance(found, Unanswerable):
            return Unanswerable(f"node_matchers[{number}].node_id: {found.reason}")
        predicates.append(found)
    return (lambda node_id: any(each(node_id) for each in predicates)) if predicates else _everything


def _everything(_: str) -> bool:
    return True


def _predicate(pattern: Pattern) -> Predicate | Unanswerable:
    if pattern.kind is Kind.REGEX:
        return _regex(pattern.text)
    text = pattern.text
    # Envoy's own constraint: only `exact` may be empty.
    if not text and pattern.kind is not Kind.EXACT:
        return Unanswerable(f"{pattern.kind} is empty; expected at least one character")
    if pattern.ignore_case:
        compare = _comparison(pattern.kind, text.lower())
        return lambda node_id: compare(node_id.lower())
    return _comparison(pattern.kind, text)


def _comparison(kind: Kind, text: str) -> Predicate:
    match kind:
        case Kind.PREFIX:
            return lambda node_id: node_id.startswith(text)
        case Kind.SUFFIX:
            return lambda node_id: node_id.endswith(text)
        case Kind.CONTAINS:
            return lambda node_id: text in node_id
        case _:
            return lambda node_id: node_id == text


def _regex(text: str) -> Predicate | Unanswerable:
    """The whole id has to match, as everywhere in Envoy."""
    if not text or len(text) > _LONGEST_REGEX:
        return Unanswerable(f"safe_regex has {len(text)} characters; expected 1 to {_LONGEST_REGEX}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _REGEX_BYTES
    try:
        compiled = re2.compile(text, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        readable = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        return Unanswerable(f"safe_regex is none that RE2 takes: {readable}")
    return lambda node_id: compiled.fullmatch(node_id) is not None
