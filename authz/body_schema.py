"""A JSON Schema (draft 2020-12) of a request body, compiled once, and what it says of a document."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import jsonschema_rs
from pydantic import JsonValue

from authz.decision import FieldError

MAX_ERRORS: Final = 20
# The validator finds all errors before it tells the first, so of larger documents none are told.
_MAX_TOLD_VALUES: Final = 256
_MAX_TOLD_CHARACTERS: Final = 65_536
# Patterns without look-around and back-references run in linear time; the others give up, and so refuse, after this.
_BACKTRACKS: Final = 50_000
_EXACT: Final = "x-exact-integer"
# Where schemas stand inside schemas (JSON Schema 2020-12, core §10, validation §6): alone, in a list, in a map.
_SCHEMA: Final = frozenset(
    {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
    | {"unevaluatedItems", "unevaluatedProperties"}
)
# What fails here helps the document pass, so being exact here would be lenient.
_CONTRARY: Final = frozenset({"if", "not"})
_SCHEMAS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED_SCHEMAS: Final = frozenset({"$defs", "definitions", "dependentSchemas", "patternProperties", "properties"})


class _ExactInteger:
    """`integer` means a number written as one: JSON Schema alone would take 500.0 and 5e2 for 500 (attack A47)."""

    def __init__(self, parent_schema: object, value: object, schema_path: object) -> None:
        pass

    def validate(self, instance: object) -> None:
        if isinstance(instance, float):
            raise ValueError("integer")


def _subschemas(schema: dict[str, JsonValue]) -> Iterator[tuple[str, str | int | None, JsonValue]]:
    for keyword, value in schema.items():
        if keyword in _SCHEMA:
            yield keyword, None, value
        elif keyword in _SCHEMAS and isinstance(value, list):
            yield from ((keyword, index, each) for index, each in enumerate(value))
        elif keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            yield from ((keyword, name, each) for name, each in value.items())


def _made_exact(schema: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The schema with the keyword for exact integers wherever it says `integer`."""
    exact = dict(schema)
    for keyword, place, subschema in _subschemas(schema):
        if not isinstance(subschema, dict) or keyword in _CONTRARY:
            continue
        made = _made_exact(subschema)
        held = exact[keyword]
        if place is None:
            exact[keyword] = made
        elif isinstance(held, dict):
            exact[keyword] = {**held, str(place): made}
        elif isinstance(held, list):
            exact[keyword] = [made if index == place else each for index, each in enumerate(held)]
    kinds = schema.get("type")
    if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds and "number" not in kinds):
        exact[_EXACT] = True
    return exact


def _declared_names(schema: dict[str, JsonValue]) -> Iterator[str]:
    for keyword, place, subschema in _subschemas(schema):
        if keyword == "properties" and isinstance(place, str):
            yield place
        if isinstance(subschema, dict):
            yield from _declared_names(subschema)


def _is_small(document: JsonValue) -> bool:
    """Whether the document is one whose errors can be listed at little cost. Looks at no more than such a one holds."""
    values, characters = [document], 0
    for value in values:
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            characters += sum(map(len, value)) if len(value) <= _MAX_TOLD_VALUES else 0
            values.extend(islice(value.values(), _MAX_TOLD_VALUES))
        elif isinstance(value, list):
            values.extend(islice(value, _MAX_TOLD_VALUES))
        if len(values) >= _MAX_TOLD_VALUES or characters > _MAX_TOLD_CHARACTERS:
            return False
    return True


def _pointer(path: Sequence[str | int], declared: frozenset[str]) -> str:
    """RFC 6901. Names that the schema does not declare are the client's words and stand as `*`."""
    parts = (str(part) if isinstance(part, int) or part in declared else "*" for part in path)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


class BodySchema:
    """One compiled schema. Patterns run in bounded time, and references lead nowhere outside it."""

    def __init__(self, schema: dict[str, JsonValue]) -> None:
        """Raises ValueError when it is not a schema that can be enforced so."""
        self._declared = frozenset(_declared_names(schema))
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                _made_exact(schema),
                validate_formats=True,
                ignore_unknown_formats=False,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
                keywords={_EXACT: _ExactInteger},
                offline=True,
            )
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise ValueError(f"not a JSON Schema that can be enforced: {str(error).splitlines()[0]}") from error

    def errors(self, document: JsonValue) -> tuple[FieldError, ...]:
        """Where the document breaks the schema, at most MAX_ERRORS of it; empty when it does not.

        Of a large document it is said only that it does.
        """
        if self._validator.is_valid(document):
            return ()
        if not _is_small(document):
            return (FieldError("", "schema"),)
        found = islice(self._validator.iter_errors(document), MAX_ERRORS)
        return tuple(
            dict.fromkeys(FieldError(self._place(error), self._rule(error.schema_path)) for error in found)
        ) or (FieldError("", "schema"),)

    def _place(self, error: jsonschema_rs.ValidationError) -> str:
        """Where something is wrong; of a member that is missing, where it belongs, which alone says which it is."""
        place = _pointer(error.instance_path, self._declared)
        if not isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
            return place
        # A word of the schema, declared among its properties or not.
        return place + _pointer([error.kind.property], frozenset({error.kind.property}))

    def pointer(self, path: Sequence[str | int]) -> str:
        """RFC 6901, for the client: names that the schema does not declare stand as `*`."""
        return _pointer(path, self._declared)

    @staticmethod
    def _rule(schema_path: Sequence[str | int]) -> str:
        """The keyword that was broken, such as `maxLength`: the last word of the way to it through the schema."""
        last = next((part for part in reversed(schema_path) if isinstance(part, str)), "schema")
        return "type" if last == _EXACT else last
