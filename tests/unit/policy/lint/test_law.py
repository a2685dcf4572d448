"""AB112: which modes wave through children without consent, or agents without signatures."""

from pathlib import Path

import pytest
import yaml

from policy.lint import Severity, lint_all
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import FieldPath, Source

ROOT = Path(__file__).parents[4]


def waived(gateway: str, **changes: object) -> dict[FieldPath, str]:
    """Where the rule finds something in a shipped policy that an overlay changes, and the reasons that except it."""
    file = ROOT / "envoy" / "gateways" / f"{gateway}.yaml"
    overlay = Source("test.yaml", yaml.safe_dump({"profile": "test", "gateways": {gateway: changes}}))
    policy = load_gateway(Gateway, Source(file.name, file.read_text(encoding="utf-8")), [overlay])
    found = [one for one in lint_all(policy.gateway, policy.positions) if one.code == "AB112"]
    assert all(one.severity is Severity.ERROR for one in found)
    return {one.path: one.excepted for one in found}


@pytest.mark.requirement("R50")
@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_a_mode_that_waives_rules_is_an_error_on_every_route_that_asks_for_ages(mode: str) -> None:
    assert ("routes", "math") in waived("education", mode=mode)
    assert set(waived("education", routes={"math": {"mode": mode}})) == {("routes", "math", "mode")}


def test_optional_asks_for_ages_all_the_same() -> None:
    assert waived("education", mode="optional") == {}


def test_a_route_may_be_enforced_in_a_gateway_that_is_not_and_not_the_other_way_round() -> None:
    routes = ("math", "science", "english", "test-prep", "career", "study", "homework")
    assert waived("education", mode="shadow", routes={name: {"mode": "enforce"} for name in routes}) == {}


@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_a_rule_about_ages_that_only_counts_is_an_error(mode: str) -> None:
    assert set(waived("education", rules={"age": {"mode": mode}})) == {("rules", "age", "mode")}


def test_rules_of_a_route_that_forget_the_age_are_an_error() -> None:
    assert set(waived("education", routes={"math": {"rules": ["honesty"]}})) == {("routes", "math", "rules")}


@pytest.mark.parametrize("mode", ["off", "shadow", "optional"])
def test_agents_are_never_admitted_unsigned_without_a_word(mode: str) -> None:
    assert {path[0] for path in waived("agents", mode=mode)} == {"routes"}
    found = waived("central", mode=mode)
    assert found


def test_who_means_it_says_so_where_it_is_meant() -> None:
    reason = "the school asks for every child's age itself"
    said = {"mode": "shadow", "lint_exceptions": {"AB112": reason}}
    assert waived("education", routes={"math": said}) == {("routes", "math", "mode"): reason}
