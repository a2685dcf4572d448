"""Whether an OpenAPI document is one."""

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from openapi_spec_validator import OpenAPIV31SpecValidator


def faults(document: dict[str, Any]) -> list[str]:
    """What breaks the specification. Patterns are ECMA-262's (JSON Schema 2020-12, 6.3.3), as gateways match them.

    The validator takes them for those of Python, which knows no `\\p{L}`.
    """
    return list(_faults(document))


def _faults(document: dict[str, Any]) -> Iterator[str]:
    for error in OpenAPIV31SpecValidator(document).iter_errors():
        if error.validator == "format" and error.validator_value == "regex" and _is_pattern(error.instance):
            continue
        yield f"{list(error.absolute_path)}: {error.message}"


def _is_pattern(text: object) -> bool:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": text})
    except jsonschema_rs.ValidationError:
        return False
    return True
