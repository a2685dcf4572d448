"""The schema that editors load says what the loader says."""

import json
from pathlib import Path

import jsonschema_rs
import pytest
from pydantic import JsonValue

from policy.positions import plain
from policy.problem import Source
from policy.schema import schema_text
from policy.yaml_nodes import parse

ENVOY = Path(__file__).resolve().parents[3] / "envoy"
FILES = sorted((ENVOY / "gateways").glob("*.yaml"))


def tree(text: str) -> JsonValue:
    root = parse(Source("g.yaml", text)).root
    assert root is not None
    return json.loads(json.dumps(plain(root)))  # type: ignore[no-any-return]


def test_the_committed_schema_is_that_of_the_model() -> None:
    command = (
        "python -c 'from policy.schema import schema_text; print(schema_text(), end=\"\")' > envoy/gateway.schema.json"
    )
    assert (ENVOY / "gateway.schema.json").read_text() == schema_text(), f"run: {command}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_gateway_file_names_the_schema_and_meets_it(file: Path) -> None:
    text = file.read_text()
    assert text.splitlines()[0] == "# yaml-language-server: $schema=../gateway.schema.json"
    jsonschema_rs.validate(json.loads(schema_text()), tree(text))


def test_a_misspelt_field_is_underlined() -> None:
    broken = FILES[0].read_text().replace("\nowners:", "\nownres:")
    validator = jsonschema_rs.validator_for(json.loads(schema_text()))
    assert any("ownres" in error.message for error in validator.iter_errors(tree(broken)))


def test_fields_are_explained_where_they_are_written() -> None:
    properties = json.loads(schema_text())["properties"]
    assert properties["tiers"]["description"]
    assert json.loads(schema_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"
