"""What is meant all the same is excepted with a reason, where it is, and by no more than that."""

from pathlib import Path

import pytest
import yaml

from policy.lint import Finding, lint, lint_all
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import PolicyError, Source

ROOT = Path(__file__).parents[4]
EXAMPLE = (ROOT / "docs" / "lint" / "example.yaml").read_text(encoding="utf-8")
REASON = "central limits these callers already"


def loaded(**changes: object) -> Loaded[Gateway]:
    overlay = yaml.safe_dump({"profile": "test", "gateways": {"example": changes}})
    return load_gateway(Gateway, Source("example.yaml", EXAMPLE), [Source("test.yaml", overlay)])


def findings(**changes: object) -> list[Finding]:
    policy = loaded(**changes)
    return lint(policy.gateway, policy.positions)


def test_an_exception_on_a_route_covers_that_route() -> None:
    other = {"path": "/other", "upstream": "shop", "limits": []}
    excepted = {"limits": [], "lint_exceptions": {"AB202": REASON}}
    assert [one.path for one in findings(routes={"orders": excepted, "other": other}) if one.code == "AB202"] == [
        ("routes", "other")
    ]


def test_an_exception_on_the_gateway_covers_every_route() -> None:
    found = findings(routes={"orders": {"limits": []}}, lint_exceptions={"AB202": REASON})
    assert "AB202" not in {one.code for one in found}
    assert "AB502" not in {one.code for one in found}


def test_an_exception_that_finds_nothing_is_found_where_it_is_written() -> None:
    (one,) = findings(routes={"orders": {"lint_exceptions": {"AB202": REASON}}})
    assert one.code == "AB502"
    assert one.path == ("routes", "orders", "lint_exceptions", "AB202")


def test_an_exception_for_an_unknown_code_says_that_there_is_no_such_code() -> None:
    (one,) = findings(lint_exceptions={"AB999": REASON})
    assert "no code" in one.message


def test_a_reason_is_more_than_a_word() -> None:
    with pytest.raises(PolicyError):
        loaded(lint_exceptions={"AB202": "because"})


def test_findings_come_in_the_order_of_the_files_lines() -> None:
    found = findings(networks={"office": ["192.0.2.0/24", "192.0.2.7/32"]}, routes={"orders": {"limits": []}})
    places = [one.position for one in found]
    assert places == sorted(places, key=lambda place: (place.file, place.line) if place else ("", 0))


def test_a_policy_is_linted_without_knowing_where_it_is_written() -> None:
    assert {one.position for one in lint(loaded(routes={"orders": {"limits": []}}).gateway)} == {None}


def test_what_is_excepted_is_known_with_its_reason() -> None:
    policy = loaded(routes={"orders": {"limits": [], "lint_exceptions": {"AB202": REASON}}})
    assert [one.excepted for one in lint_all(policy.gateway) if one.code == "AB202"] == [REASON]


@pytest.mark.parametrize(
    "profile", [None, "dev", "compose", "staging", "production", "migration", "migration-optional"]
)
@pytest.mark.parametrize("name", ["agents", "central", "education", "marketing", "platform", "sales"])
def test_there_is_nothing_to_find_in_the_policies_that_come_with_apibank(name: str, profile: str | None) -> None:
    file = ROOT / "envoy" / "gateways" / f"{name}.yaml"
    overlays = [] if profile is None else [ROOT / "envoy" / "profiles" / f"{profile}.yaml"]
    sources = [Source(path.name, path.read_text(encoding="utf-8")) for path in (file, *overlays)]
    policy = load_gateway(Gateway, sources[0], sources[1:])
    assert [(one.code, str(one.position), one.message) for one in lint(policy.gateway, policy.positions)] == []
