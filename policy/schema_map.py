"""A model's JSON Schema as a map: which fields are known at a place of the policy, and what they are for."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Self

from pydantic import BaseModel, JsonValue

from policy.problem import FieldPath

Schema = Mapping[str, JsonValue]


class SchemaMap:
    """A model's JSON Schema, walked along the paths of a policy."""

    def __init__(self, schema: Schema) -> None:
        self._root = schema
        definitions = schema.get("$defs", {})
        self._definitions = definitions if isinstance(definitions, dict) else {}

    @classmethod
    @cache
    def of(cls, model: type[BaseModel]) -> Self:
        return cls(model.model_json_schema())

    def fields(self, path: FieldPath) -> tuple[str, ...]:
        """The fields that are known at a place; of every member where it is a union."""
        return tuple(dict.fromkeys(name for schema in self._at(path) for name in _object(schema, "properties")))

    def description(self, path: FieldPath) -> str:
        """What the field at the place is for, where the model says so."""
        texts = (schema.get("description") for schema in self._walk(path))
        return next((text for text in texts if isinstance(text, str)), "")

    def _at(self, path: FieldPath) -> Iterator[Schema]:
        for schema in self._walk(path):
            yield from self._members(schema)

    def _walk(self, path: FieldPath) -> list[Schema]:
        schemas: list[Schema] = [self._root]
        for step in path:
            schemas = [
                below for schema in schemas for member in self._members(schema) for below in _below(member, step)
            ]
        return schemas

    def _members(self, schema: Schema) -> Iterator[Schema]:
        """The schema itself with all that it refers to or chooses from."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._definitions.get(reference.removeprefix("#/$defs/"))
            if isinstance(target, dict):
                yield from self._members(target)
        for word in ("anyOf", "oneOf", "allOf"):
            choices = schema.get(word)
            for choice in choices if isinstance(choices, list) else []:
                if isinstance(choice, dict):
                    yield from self._members(choice)
        yield schema


def _object(schema: Schema, word: str) -> Schema:
    value = schema.get(word)
    return value if isinstance(value, dict) else {}


def _below(schema: Schema, step: str | int) -> Iterator[Schema]:
    if isinstance(step, int):
        candidates: list[JsonValue] = [schema.get("items")]
    else:
        named = _object(schema, "properties").get(step)
        others = [schema.get("additionalProperties"), *_object(schema, "patternProperties").values()]
        candidates = [named] if named is not None else others
    for candidate in candidates:
        if isinstance(candidate, dict):
            yield candidate
