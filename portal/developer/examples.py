"""A body that a schema takes, to show how one looks."""

from collections.abc import Mapping, Sequence
from typing import Final

import jsonschema_rs
from pydantic import JsonValue

from policy.access import JsonSchema

# Texts that some pattern may be after; the first that the schema takes is taken.
_TEXTS: Final = (
    "An example",
    "example",
    "EUR",
    "US",
    "2026-12-31",
    "2026-12-31T12:00:00Z",
    "12:00",
    "ann@example.com",
    "https://example.com",
    "example.com",
    "+14155550123",
    "00000000-0000-4000-8000-000000000000",
    "1",
)
_DEEPEST: Final = 8


def example(schema: JsonSchema) -> JsonValue:
    """What has to be there and no more; None where no such body was found."""
    found = _of(schema, schema, _DEEPEST)
    return found if _takes(schema, found) else None


def _of(part: Mapping[str, JsonValue], whole: JsonSchema, depth: int) -> JsonValue:
    match part:
        case _ if depth == 0:
            return None
        case {"const": value}:
            return value
        case {"enum": [value, *_]}:
            return value
        case {"examples": [value, *_]} | {"default": value}:
            return value
        case {"$ref": str(reference)}:
            return _of(_referred(reference, whole), whole, depth - 1)
        case {"anyOf": [dict(first), *_]} | {"oneOf": [dict(first), *_]}:
            return _of(first, whole, depth - 1)
    kind = part.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return _object(part, whole, depth)
        case "array":
            items = part.get("items")
            least = part.get("minItems")
            count = least if isinstance(least, int) else 1
            return [_of(items, whole, depth - 1) for _ in range(count)] if isinstance(items, dict) else []
        case "string":
            return next((text for text in _TEXTS if _takes(part, text)), None)
        case "integer" | "number":
            return _number(part)
        case "boolean":
            return True
    return None


def _object(part: Mapping[str, JsonValue], whole: JsonSchema, depth: int) -> JsonValue:
    properties, required = part.get("properties"), part.get("required")
    if not isinstance(properties, dict):
        return {}
    names = required if isinstance(required, list) else []
    return {
        str(name): _of(inner, whole, depth - 1)
        for name in names
        if isinstance(inner := properties.get(str(name)), dict)
    }


def _number(part: Mapping[str, JsonValue]) -> JsonValue:
    low, above, high = part.get("minimum"), part.get("exclusiveMinimum"), part.get("maximum")
    candidates: Sequence[JsonValue] = (10, low, above + 1 if isinstance(above, (int, float)) else None, high, 1, 0)
    return next((one for one in candidates if one is not None and _takes(part, one)), None)


def _takes(part: Mapping[str, JsonValue], value: JsonValue) -> bool:
    try:
        return jsonschema_rs.is_valid(dict(part), value)
    except jsonschema_rs.ValidationError:  # the schema itself is none, or a part of it refers to the whole
        return False


def _referred(reference: str, whole: JsonSchema) -> Mapping[str, JsonValue]:
    """A part of the same schema (RFC 6901), or nothing where it is not there."""
    found: JsonValue = dict(whole)
    for step in reference.removeprefix("#").split("/")[1:]:
        if not isinstance(found, dict):
            return {}
        found = found.get(step.replace("~1", "/").replace("~0", "~"))
    return found if isinstance(found, dict) else {}
