"""A tree against a pydantic model: every error, in plain words, at its place."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policy.positions import Positions, child_of, plain
from policy.problem import Checked, Diagnostic, FieldPath, Problem
from policy.schema_map import SchemaMap
from policy.wording import Wording, discriminator, shown, worded
from policy.yaml_nodes import Node

M = TypeVar("M", bound=BaseModel)

# Labels of union members within a `loc`, each with the number of steps ahead of it.
_Labels = tuple[tuple[int, str], ...]

# At the end of pydantic's `loc` where the key itself is wrong.
_KEY = "[key]"


@dataclass(frozen=True, slots=True)
class _Mistake:
    """One pydantic error, its `loc` split into a path of the tree and labels of union members (depth, label)."""

    path: FieldPath
    labels: _Labels
    type: str
    wording: Wording
    at_key: bool = False


def validated(
    model: type[M], root: Node, lines: Mapping[str, Sequence[str]]
) -> tuple[M | None, Positions, list[Diagnostic]]:
    """The model that the tree describes, or everything that is wrong with it."""
    positions = Positions(root, lines)
    try:
        instance = model.model_validate(plain(root))
    except ValidationError as error:
        schema = SchemaMap.of(model)
        mistakes = _settled([_mistake(root, one) for one in error.errors(include_url=False) if not _echo(one)])
        found = [_diagnostic(mistake, positions, schema) for mistake in mistakes]
        return None, positions, [one for one in found if not positions.suspects(one.path)]
    return (
        instance,
        positions,
        [
            positions.diagnostic(one.path, one.message, expected=one.expected, within=one.within)
            for one in _broken_rules(instance)
        ],
    )


def suggestion(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, as a hint; empty where nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def _broken_rules(instance: object) -> Sequence[Problem]:
    return instance.problems() if isinstance(instance, Checked) else ()


def _echo(details: ErrorDetails) -> bool:
    # A list loses its bad items before pydantic counts it: that it is then too short is no error of its own.
    value, least = details["input"], details.get("ctx", {}).get("min_length", 0)
    return details["type"] == "too_short" and isinstance(value, list) and len(value) >= least


def _mistake(root: Node, details: ErrorDetails) -> _Mistake:
    loc = details["loc"]
    at_key = bool(loc) and loc[-1] == _KEY
    missing = loc[-1:] if details["type"] == "missing" else ()
    path, labels = _follow(root, loc[:-1] if at_key or missing else loc)
    # pydantic blames the map whose kind it cannot tell; what is wrong is the field that tells it.
    if details["type"].startswith("union_tag"):
        missing = (discriminator(details),)
    kind = "missing" if details["type"] == "union_tag_not_found" else details["type"]
    return _Mistake((*path, *missing), labels, kind, worded(details), at_key)


def _follow(node: Node, loc: tuple[str | int, ...], depth: int = 0) -> tuple[FieldPath, _Labels]:
    """Split pydantic's `loc` into steps of the tree and labels of the union members that it tried on the way."""
    if not loc:
        return (), ()
    readings: list[tuple[FieldPath, _Labels]] = []
    child = child_of(node, loc[0])
    if child is not None:
        path, labels = _follow(child, loc[1:], depth + 1)
        readings.append(((loc[0], *path), labels))
    if child is None or readings[0][1]:
        path, labels = _follow(node, loc[1:], depth)
        readings.append((path, ((depth, str(loc[0])), *labels)))
    # A label may be spelt like a field that is written there: take the reading that needs fewer labels.
    return min(readings, key=lambda reading: len(reading[1]))


def _settled(mistakes: Sequence[_Mistake]) -> list[_Mistake]:
    """One mistake where a value fits no member of a union, in place of one for each member."""
    settled = [mistake for mistake in mistakes if not mistake.labels]
    unions: dict[FieldPath, dict[str, list[_Mistake]]] = {}
    for mistake in mistakes:
        if mistake.labels:
            (depth, label), *rest = mistake.labels
            inner = _Mistake(mistake.path, tuple(rest), mistake.type, mistake.wording, mistake.at_key)
            unions.setdefault(mistake.path[:depth], {}).setdefault(label, []).append(inner)
    for path, members in unions.items():
        # Where the value has the shape of a member, what is wrong inside it is what its author wants to know.
        shaped = [inner for inner in members.values() if all(len(one.path) > len(path) for one in inner)]
        if shaped or len(members) == 1:
            settled += _settled(min(shaped or members.values(), key=len))
        else:
            alternatives = [one for inner in members.values() for one in _settled(inner) if one.path == path]
            expected = " or ".join(dict.fromkeys(one.wording.expected or one.wording.message for one in alternatives))
            first = alternatives[0]
            wording = Wording(f"expected {expected}, found {first.wording.found}", first.wording.found, expected)
            settled.append(_Mistake(path, (), "union", wording, first.at_key))
    return settled


def _diagnostic(mistake: _Mistake, positions: Positions, schema: SchemaMap) -> Diagnostic:
    path, wording = mistake.path, mistake.wording
    last = str(path[-1]) if path else ""
    if mistake.type == "extra_forbidden":
        known = schema.fields(path[:-1])
        hint = suggestion(last, known)
        return positions.diagnostic(
            path,
            "unknown field",
            expected=f"one of {', '.join(known)}" if known else "",
            hint=hint,
            at_key=True,
        )
    if mistake.type == "missing":
        return positions.diagnostic(path, "missing field", expected=schema.description(path))
    if mistake.at_key:
        message = f"expected {wording.expected}, found the key {shown(last)}" if wording.expected else wording.message
        hint = suggestion(last, wording.allowed)
        return positions.diagnostic(path, message, expected=wording.expected, hint=hint, at_key=True)
    hint = suggestion(wording.word, wording.allowed) or schema.description(path)
    return positions.diagnostic(path, wording.message, found=wording.found, expected=wording.expected, hint=hint)
