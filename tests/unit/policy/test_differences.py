"""What has changed between two policies: fields, not lines, each where it is written now."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.differences import Change, Op, differences
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import Source

FILE = Path(__file__).parents[3] / "docs" / "lint" / "example.yaml"
TEXT = FILE.read_text(encoding="utf-8")


def load(text: str = TEXT, **changes: Any) -> Loaded[Gateway]:
    overlay = yaml.safe_dump({"profile": "test", "gateways": {"example": changes}})
    return load_gateway(Gateway, Source("example.yaml", text), [Source("test.yaml", overlay)] if changes else [])


def between(old: Loaded[Gateway], new: Loaded[Gateway]) -> tuple[Change, ...]:
    return differences(old.gateway, new.gateway, new.positions)


def test_a_policy_does_not_differ_from_itself_in_another_order_or_with_its_defaults_spelt_out() -> None:
    turned = yaml.safe_dump(dict(reversed(yaml.safe_load(TEXT).items())), sort_keys=False)
    spelt = {"limits": {"caller": {"shadow": False}}, "routes": {"orders": {"match": "prefix"}}}
    assert between(load(), load(turned)) == ()
    assert between(load(), load(**spelt)) == ()


def test_a_field_that_changes_has_both_values_and_its_place_in_the_new_file() -> None:
    changed = TEXT.replace("requests: 100000", "requests: 90000")
    (one,) = between(load(), load(changed))
    assert (one.path, one.op, one.before, one.after) == (
        ("limits", "everybody", "requests"), Op.CHANGED, 100000, 90000,
    )  # fmt: skip
    assert one.position is not None
    assert changed.splitlines()[one.position.line - 1].strip() == "requests: 90000"


def test_what_is_added_has_no_before_and_what_goes_no_after() -> None:
    old, new = load(), load(routes={"other": {"path": "/other", "upstream": "shop"}})
    (added,) = between(old, new)
    assert (added.path, added.op, added.before) == (("routes", "other"), Op.ADDED, None)
    assert added.after == {"path": "/other", "upstream": "shop"}
    (removed,) = between(new, old)
    assert (removed.path, removed.op, removed.before, removed.after) == (
        ("routes", "other"), Op.REMOVED, added.after, None,
    )  # fmt: skip
    assert removed.position == old.positions[("routes",)]


def test_a_field_that_returns_to_its_default_is_removed_from_what_is_said() -> None:
    (one,) = between(load(limits={"caller": {"shadow": True}}), load())
    assert (one.path, one.op, one.before) == (("limits", "caller", "shadow"), Op.REMOVED, True)


def test_a_list_changes_as_a_whole() -> None:
    (one,) = between(load(), load(networks={"office": ["192.0.2.0/24", "198.51.100.0/24"]}))
    assert one.path == ("networks", "office")
    assert (one.before, one.after) == (["192.0.2.0/24"], ["192.0.2.0/24", "198.51.100.0/24"])


def test_a_change_by_an_overlay_is_placed_in_the_overlay() -> None:
    (one,) = between(load(), load(routes={"orders": {"max_body_bytes": 1000}}))
    assert one.position is not None
    assert one.position.file == "test.yaml"


def test_of_a_first_policy_everything_is_added() -> None:
    new = load()
    changes = differences(None, new.gateway, new.positions)
    assert {one.op for one in changes} == {Op.ADDED}
    assert ("gateway",) in {one.path for one in changes}


@pytest.mark.parametrize("positions", [True, False])
def test_changes_come_in_the_order_of_their_paths_with_places_or_without(positions: bool) -> None:
    new = load(tiers=["free"], limits={"caller": {"tiers": {"business": None}}}, description="Another")
    changes = differences(load().gateway, new.gateway, new.positions if positions else None)
    assert [one.path for one in changes] == sorted(one.path for one in changes)
    assert all((one.position is not None) == positions for one in changes)


def test_policies_differ_exactly_where_their_versions_do() -> None:
    old = load()
    for changes in (
        {"description": "Another"},
        {"tiers": ["business", "free"]},
        {"routes": {"orders": {"limits": []}}},
    ):
        new = load(**changes)
        assert bool(between(old, new)) == (old.gateway.version != new.gateway.version)
