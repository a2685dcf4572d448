"""Expressions in CEL that teams write: their types are checked when the policy is loaded, and their work is bounded.

This is the one module that knows the CEL library. What an expression sees: `request` and `caller` with typed members,
and `body`, whose members are typed where every schema in question demands them with one type.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cel_expr_python import cel
from pydantic import JsonValue

_TEXT: Final = cel.Type.STRING
_TEXTS: Final = cel.Type.List(_TEXT)
# Members of request and caller; a name that is not here is an error when the policy is loaded.
_VARIABLES: Final[Mapping[str, cel.Type]] = {
    "request.method": _TEXT,
    "request.path": _TEXT,
    "request.route": _TEXT,
    "request.query": cel.Type.Map(_TEXT, _TEXTS),
    "request.time": cel.Type.TIMESTAMP,
    "caller.kind": _TEXT,
    "caller.role": _TEXT,
    "caller.tier": _TEXT,
    "caller.tenant": _TEXT,
    "caller.partner": _TEXT,
    "caller.agent": _TEXT,
    "caller.scopes": _TEXTS,
    "caller.claims": cel.Type.Map(_TEXT, cel.Type.DYN),
    "body": cel.Type.DYN,
}
_SCALARS: Final[Mapping[str, cel.Type]] = {
    "string": _TEXT,
    "integer": cel.Type.INT,
    "boolean": cel.Type.BOOL,
}
# Of RE2 and CEL alike: what repeats the evaluation of a part, once for each value that it goes through.
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
_MAX_MACROS: Final = 3
# Values times characters that an expression may look at; CEL itself stops after 10,000 rounds of its macros.
_MAX_WORK: Final = 20_000_000
_MAX_ROUNDS: Final = 10_000
# In a raw text a backslash is one, and ends nothing less than it would otherwise.
_RAW: Final = r"""(?:[rR][bB]?|[bB][rR])(?:\"{3}(?s:.)*?\"{3}|'{3}(?s:.)*?'{3}|"[^"\n]*"|'[^'\n]*')"""
_ESCAPED: Final = (
    r"""[bB]?(?:\"{3}(?s:[^\\]|\\.)*?\"{3}|'{3}(?s:[^\\]|\\.)*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')"""
)
_TOKEN: Final = re.compile(
    rf"(?P<text>{_RAW}|{_ESCAPED})"
    r"|(?P<comment>//[^\n]*)|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<space>\s+)|(?P<sign>.)"
)
_ERROR: Final = re.compile(r"<input>:(?P<line>\d+):(?P<column>\d+): (?P<said>.*)")

Place = tuple[int, int]


class ExpressionError(Exception):
    """An expression that cannot be used; the line and the column, from 1, within its text."""

    def __init__(self, message: str, place: Place = (1, 1)) -> None:
        super().__init__(message)
        self.place = place


class EvaluationError(Exception):
    """An expression came to no result for this request."""


@dataclass(frozen=True, slots=True)
class _Word:
    """A token that matters: its kind, its text and where it begins."""

    kind: str
    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Inputs:
    """What an expression is evaluated on. `characters` and `values` measure the body."""

    variables: Mapping[str, JsonValue | datetime]
    body: JsonValue
    characters: int = 0
    values: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One compiled expression. `typed` are the members of the body that it may name by themselves."""

    text: str
    compiled: cel.Expression
    macros: int
    sums: int
    typed: tuple[str, ...]

    def holds(self, inputs: Inputs) -> bool:
        """Whether it is true. Raises EvaluationError where it has no result: a member that is not there, a wrong type,
        or more work than is done for one request."""
        if self.macros:
            rounds = min(inputs.values**self.macros, _MAX_ROUNDS)
            # A macro gives what it has added up to the next one, which adds it up again.
            if max(rounds, (1 + self.sums) ** self.macros) * inputs.characters > _MAX_WORK:
                raise EvaluationError("too much work")
        data: dict[str, object] = {**inputs.variables, "body": inputs.body}
        if isinstance(inputs.body, dict):
            data |= {f"body.{name}": inputs.body[name] for name in self.typed if name in inputs.body}
        try:
            result = self.compiled.eval(data=data).value()
        except RuntimeError as error:
            raise EvaluationError("it failed") from error
        if not isinstance(result, bool):
            raise EvaluationError("no result")
        return result


def compile_expression(
    text: str, claims: Sequence[str] = (), schemas: Sequence[Mapping[str, JsonValue]] = ()
) -> Expression:
    """The expression, ready to be evaluated on bodies of these JSON Schemas. Raises ExpressionError."""
    words = list(_words(text))
    _check_words(text, words, claims, schemas)
    typed = _typed_members(schemas)
    variables = {**_VARIABLES, **{f"body.{name}": kind for name, kind in typed.items()}}
    try:
        compiled = cel.NewEnv(variables=variables).compile(text)
    except RuntimeError as error:
        raise _translated(str(error)) from None
    if compiled.return_type() not in (cel.Type.BOOL, cel.Type.DYN):
        raise ExpressionError(f"expected true or false, found {compiled.return_type().name().lower()}")
    sums = sum(word.kind == "sign" and word.text == "+" for word in words)
    return Expression(text, compiled, _count_macros(words), sums, tuple(typed))


def reads_body(text: str) -> bool:
    """Whether the expression names the body."""
    words = list(_words(text))
    return any(
        word.kind == "name" and word.text == "body" and not _follows_dot(words, index)
        for index, word in enumerate(words)
    )


def _words(text: str) -> Iterator[_Word]:
    for found in _TOKEN.finditer(text):
        if found.lastgroup not in {"space", "comment"}:
            yield _Word(found.lastgroup or "", found[0], found.start())


def _follows_dot(words: Sequence[_Word], index: int) -> bool:
    return index > 0 and words[index - 1].text == "."


def _count_macros(words: Sequence[_Word]) -> int:
    return sum(
        word.text in _MACROS and _follows_dot(words, index) and _text_at(words, index + 1) == "("
        for index, word in enumerate(words)
    )


def _text_at(words: Sequence[_Word], index: int) -> str:
    return words[index].text if index < len(words) else ""


def _check_words(
    text: str, words: Sequence[_Word], claims: Sequence[str], schemas: Sequence[Mapping[str, JsonValue]]
) -> None:
    """What CEL's own checker lets pass: patterns that clients choose, names that nobody declared, too many rounds."""
    if _count_macros(words) > _MAX_MACROS:
        raise ExpressionError(f"at most {_MAX_MACROS} of {', '.join(sorted(_MACROS))} in one expression")
    known = _known_members(schemas)
    for index, word in enumerate(words):
        member = _member_of(words, index)
        if word.text == "matches" and _text_at(words, index + 1) == "(":
            pattern = words[index + 2] if index + 2 < len(words) else word
            if not _follows_dot(words, index) or pattern.kind != "text" or _text_at(words, index + 3) != ")":
                raise ExpressionError(
                    "matches takes a pattern that is written here: TEXT.matches('PATTERN')", _place(text, word.start)
                )
            _check_pattern(pattern.text, _place(text, pattern.start))
        if (
            member == ("caller", "claims")
            and _text_at(words, index + 3) == "."
            and _text_at(words, index + 4) not in claims
        ):
            named = words[index + 4]
            raise ExpressionError(f"claim {named.text} is not declared: add it to `claims`", _place(text, named.start))
        if member is not None and member[0] == "body" and known is not None and member[1] not in known:
            named = words[index + 2]
            raise ExpressionError(f"no schema here has a field {named.text}", _place(text, named.start))


def _check_pattern(written: str, place: Place) -> None:
    try:
        result = cel.NewEnv(variables={}).compile(f"''.matches({written})").eval(data={}).value()
    except RuntimeError:
        # Not a text at all, and the checker says so at its place.
        return
    if not isinstance(result, bool):
        raise ExpressionError("not a pattern of RE2", place)


def _member_of(words: Sequence[_Word], index: int) -> tuple[str, str] | None:
    """`caller.claims` as ("caller", "claims"), where such a thing begins at the index."""
    if words[index].kind != "name" or _follows_dot(words, index) or _text_at(words, index + 1) != ".":
        return None
    member = words[index + 2] if index + 2 < len(words) else None
    return None if member is None or member.kind != "name" else (words[index].text, member.text)


def _known_members(schemas: Sequence[Mapping[str, JsonValue]]) -> frozenset[str] | None:
    """All names that a body can have at its top; None where a schema admits any."""
    names: set[str] = set()
    for schema in schemas:
        properties = schema.get("properties")
        if schema.get("additionalProperties") is not False or not isinstance(properties, Mapping):
            return None
        names.update(properties)
    return frozenset(names) if schemas else None


def _typed_members(schemas: Sequence[Mapping[str, JsonValue]]) -> dict[str, cel.Type]:
    """Members that every schema demands, each time with the same type."""
    found: list[dict[str, str]] = []
    for schema in schemas:
        properties, required = schema.get("properties"), schema.get("required")
        kinds: dict[str, str] = {}
        for name in required if isinstance(required, list) and isinstance(properties, Mapping) else ():
            form = properties.get(name) if isinstance(properties, Mapping) and isinstance(name, str) else None
            kind = form.get("type") if isinstance(form, Mapping) else None
            if isinstance(name, str) and isinstance(kind, str) and kind in _SCALARS and name.isidentifier():
                kinds[name] = kind
        found.append(kinds)
    if not found:
        return {}
    first, *others = found
    return {name: _SCALARS[kind] for name, kind in first.items() if all(one.get(name) == kind for one in others)}


def _place(text: str, offset: int) -> Place:
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _translated(said: str) -> ExpressionError:
    found = _ERROR.search(said)
    if found is None:
        return ExpressionError("it cannot be compiled")
    message = found["said"].replace(" (in container '')", "")
    return ExpressionError(message, (int(found["line"]), int(found["column"])))
