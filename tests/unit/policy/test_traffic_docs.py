"""What docs/operate/traffic.md shows can be pasted, and shows everything."""

import re
from pathlib import Path

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from policy.traffic import RetryOn, Traffic

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "operate" / "traffic.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def gateway(example: str) -> Gateway:
    policy = yaml.safe_load((ROOT / "envoy" / "gateways" / "sales.yaml").read_text(encoding="utf-8"))
    policy["upstreams"] = {name: {"endpoints": ["127.0.0.1:80"]} for name in ("service", "service-next", "shadow")}
    policy["callers"] = {"partners": True}
    policy["limits"], policy["defaults"]["limits"] = {}, []
    # The rules of sales are about the bodies of its own routes.
    policy["rules"], policy["defaults"]["rules"] = {}, []
    policy["routes"] = {}
    text = yaml.safe_dump({**policy, "routes": None}).replace("routes: null\n", "") + example
    return load_gateway(Gateway, Source("example.yaml", text)).gateway


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_can_be_pasted(example: str) -> None:
    assert gateway(example).routes


def test_every_field_is_shown() -> None:
    shown = {
        field for example in EXAMPLES for route in gateway(example).routes.values() for field in route.model_fields_set
    }
    assert set(Traffic.model_fields) <= shown
    assert all(f"`{word.value}`" in TEXT for word in RetryOn)
