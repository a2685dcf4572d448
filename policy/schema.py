"""The JSON Schema of gateway files, for editors: what they complete, explain and underline while one writes.

It is committed as `envoy/gateway.schema.json`; each gateway file names it in its first line.
"""

import json

from policy.model import Gateway


def schema_text() -> str:
    """The text of the schema's file (JSON Schema 2020-12), equal for equal models."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Gateway.model_json_schema(),
        "title": "A gateway of the federation",
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
