"""What changes between two policies, in the words of their files."""

from dataclasses import replace

import pytest

from apibank.policies import PolicyFolder, shipped
from apibank.policy_diff import policy_changes
from policy.load import Loaded
from policy.model import Gateway


@pytest.fixture(scope="module")
def sales() -> Loaded[Gateway]:
    return PolicyFolder(shipped("gateways"), ()).load_one("sales")


def changed(loaded: Loaded[Gateway], **fields: object) -> Loaded[Gateway]:
    document = loaded.gateway.model_dump(mode="json", exclude_defaults=True) | fields
    return replace(loaded, gateway=Gateway.model_validate(document))


def test_equal_policies_do_not_differ(sales: Loaded[Gateway]) -> None:
    assert policy_changes(sales.gateway, sales.gateway, sales.positions) == []


def test_a_changed_field_is_named_with_its_place_and_both_values(sales: Loaded[Gateway]) -> None:
    (change,) = policy_changes(changed(sales, description="other").gateway, sales.gateway, sales.positions)
    assert (change["path"], change["op"], change["before"]) == ("description", "changed", "other")
    assert change["after"] == sales.gateway.description
    assert str(change["file"]).endswith("sales.yaml")


def test_a_route_that_came_is_one_change_and_so_is_one_that_went(sales: Loaded[Gateway]) -> None:
    routes = sales.gateway.model_dump(mode="json", exclude_defaults=True)["routes"]
    name = next(iter(routes))
    fewer = changed(sales, routes={key: value for key, value in routes.items() if key != name} or {"x": routes[name]})
    came = [one for one in policy_changes(fewer.gateway, sales.gateway, sales.positions) if one["op"] == "added"]
    assert [one["path"] for one in came] == [f"routes.{name}"]
    went = [one for one in policy_changes(sales.gateway, fewer.gateway, sales.positions) if one["op"] == "removed"]
    assert [(one["path"], one["after"]) for one in went] == [(f"routes.{name}", None)]


def test_against_nothing_everything_was_added(sales: Loaded[Gateway]) -> None:
    assert {one["op"] for one in policy_changes(None, sales.gateway, sales.positions)} == {"added"}
