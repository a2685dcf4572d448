"""What docs/operate/rules.md shows can be pasted, and shows everything."""

import re
from pathlib import Path

import pytest
import yaml

from policy.expressions import compile_expression
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from policy.rules import ExpressionRule
from records.consents import ConsentMethod

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "operate" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(rules:\n.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def gateway(example: str) -> Gateway:
    policy = yaml.safe_load((ROOT / "envoy" / "gateways" / "sales.yaml").read_text(encoding="utf-8"))
    del policy["rules"]
    # Every field that an example names, on one route that all of its rules hold for.
    fields = {"lawful_basis", "question", "crm", "external_id", "integration", "website", "score", "factors", "amount"}
    contact = {"type": "object", "properties": {name: {"type": "string"} for name in ("name", "email", "phone")}}
    properties = {**{name: {} for name in fields}, "contact": contact}
    policy["schemas"] = {"lead": {"type": "object", "additionalProperties": False, "properties": properties}}
    names = list(yaml.safe_load(example)["rules"])
    policy["defaults"]["rules"] = names
    policy["routes"] = {"leads": {"path": "/api/sales/leads", "body": {"POST": "lead"}, "upstream": "sales-agents"}}
    return load_gateway(Gateway, Source("example.yaml", yaml.safe_dump(policy) + example)).gateway


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_pasted(example: str) -> None:
    assert gateway(example).rules


def test_every_type_and_every_field_of_it_is_shown() -> None:
    shown: dict[type, set[str]] = {}
    for example in EXAMPLES:
        for rule in gateway(example).rules.values():
            shown.setdefault(type(rule), set()).update(rule.model_fields_set)
    common = {"description", "mode", "methods", "refusal", "type"}
    assert len(shown) == 6
    for kind, fields in shown.items():
        # Its annotation is what pydantic knows; mypy sees a type alone.
        assert set(kind.model_fields) - common <= fields, kind  # type: ignore[attr-defined]
    assert all(f"| `{field}` |" in TEXT for field in common - {"description"})


def test_every_method_of_consent_is_named() -> None:
    assert all(f"`{method.value}`" in TEXT for method in ConsentMethod)


def test_every_expression_in_the_table_is_one() -> None:
    for text in re.findall(r"`((?:request|caller|has)[^`]*[=<(][^`]*)`", TEXT):
        compile_expression(text if re.search("[=<]|has", text) else f"{text} != null", ["department"])


def test_every_field_of_an_expression_rule_is_there() -> None:
    assert {"require", "claims"} <= set(ExpressionRule.model_fields)
