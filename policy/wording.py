"""pydantic's error types in plain words: what was found, and what was expected."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import ErrorDetails

_LONGEST_VALUE = 60

_KINDS: Mapping[str, str] = {
    "string_type": "text",
    "string_sub_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a map",
    "mapping_type": "a map",
    "model_type": "a map of fields",
    "model_attributes_type": "a map of fields",
    "dataclass_type": "a map of fields",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "none_required": "nothing (null)",
    "url_type": "a URL",
    "url_parsing": "a URL",
}

_BOUNDS: Mapping[str, str] = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "text of at least {min_length} characters",
    "string_too_long": "text of at most {max_length} characters",
    "string_pattern_mismatch": "text that matches {pattern}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
    "enum": "{expected}",
    "literal_error": "{expected}",
    "union_tag_invalid": "{expected_tags}",
}


# Errors of a word that is not on a list, and where pydantic has that list.
_CHOICES: Mapping[str, str] = {
    "enum": "expected",
    "literal_error": "expected",
    "union_tag_invalid": "expected_tags",
}


@dataclass(frozen=True, slots=True)
class Wording:
    """An error in words. `word` and `allowed` are there where a misspelt word can be guessed from a list."""

    message: str
    found: str = ""
    expected: str = ""
    word: str = ""
    allowed: tuple[str, ...] = ()


def worded(details: ErrorDetails) -> Wording:
    """One of pydantic's errors, in the words of somebody who writes policies and no Python."""
    kind, context = details["type"], details.get("ctx", {})
    value: object = context["tag"] if kind == "union_tag_invalid" else details["input"]
    found = shown(value)
    if kind == "value_error":
        return Wording(str(context.get("error", details["msg"])), found)
    expected = _KINDS.get(kind) or _bounded(kind, context)
    if not expected:
        return Wording(details["msg"][:1].lower() + details["msg"][1:], found)
    word = value if isinstance(value, str) else ""
    return Wording(f"expected {expected}, found {found}", found, expected, word, _allowed(kind, context))


def discriminator(details: ErrorDetails) -> str:
    """The field that says which member of a union a map is."""
    return str(details.get("ctx", {}).get("discriminator", "")).strip("'")


def shown(value: object) -> str:
    """A value as it stands in YAML, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a map" if value else "an empty map"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}" if value else "an empty list"
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _bounded(kind: str, context: Mapping[str, object]) -> str:
    template = _BOUNDS.get(kind, "")
    # pydantic quotes the values of enums: 'free', 'business' or 'internal'.
    expected = template.format_map(context)
    return _joined(expected.replace("'", "")) if kind in _CHOICES else expected


def _allowed(kind: str, context: Mapping[str, object]) -> tuple[str, ...]:
    words = str(context.get(_CHOICES.get(kind, ""), "")).replace("'", "").replace(" or ", ", ")
    return tuple(word for word in words.split(", ") if word)


def _joined(words: str) -> str:
    head, separator, last = words.rpartition(", ")
    return f"{head} or {last}" if separator and " or " not in words else words
