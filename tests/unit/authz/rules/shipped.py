"""The rules and schemas that the shipped policies have."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source

GATEWAYS = Path(__file__).resolve().parents[4] / "envoy" / "gateways"


@cache
def gateway(name: str) -> Gateway:
    file = GATEWAYS / f"{name}.yaml"
    return load_gateway(Gateway, Source(file.name, file.read_text(encoding="utf-8"))).gateway


def rule(name: str, rule_name: str) -> Mapping[str, object]:
    return gateway(name).rules[rule_name].model_dump(mode="json", exclude_none=True)
