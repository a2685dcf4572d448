"""Profiles: overlays that change what a place needs, and nothing else."""

from collections.abc import Mapping

import pytest
from pydantic import BaseModel, ConfigDict, Field

from policy.load import Loaded, load_gateway, load_gateways
from policy.problem import PolicyError, Source


class Listener(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    address: str
    networks: tuple[str, ...] = ()
    note: str | None = "unset"


class Gateway(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    gateway: str
    listeners: Mapping[str, Listener] = Field(default_factory=dict)


BASE = Source(
    "sales.yaml",
    """\
gateway: sales
listeners:
  mesh:
    address: 0.0.0.0:8443
    networks: [10.0.0.0/8, 192.168.0.0/16]
    note: x
""",
)


def under(*overlays: str) -> Loaded[Gateway]:
    named = [Source(f"{number}.yaml", f"profile: p\n{text}") for number, text in enumerate(overlays)]
    return load_gateway(Gateway, BASE, named)


def refusals(*overlays: str) -> list[tuple[str, str]]:
    with pytest.raises(PolicyError) as caught:
        load_gateways(Gateway, [BASE], [Source(f"{n}.yaml", text) for n, text in enumerate(overlays)])
    return [(str(one.position), one.message) for one in caught.value.problems]


def test_maps_merge_key_by_key() -> None:
    mesh = under("all: {listeners: {mesh: {address: 127.0.0.1:1}}}").gateway.listeners["mesh"]
    assert mesh == Listener(address="127.0.0.1:1", networks=("10.0.0.0/8", "192.168.0.0/16"), note="x")


def test_an_overlay_that_changes_only_what_is_there_adds_nothing() -> None:
    changes = (
        "only_existing: true\ngateways: {sales: {listeners: {mesh: {address: 127.0.0.1:1}, gone: {address: 1:1}}}}"
    )
    assert set(under(changes).gateway.listeners) == {"mesh"}
    assert under(changes).gateway.listeners["mesh"].address == "127.0.0.1:1"


def test_lists_replace() -> None:
    mesh = under("gateways: {sales: {listeners: {mesh: {networks: [127.0.0.0/8]}}}}").gateway.listeners["mesh"]
    assert mesh.networks == ("127.0.0.0/8",)


def test_null_takes_a_field_away() -> None:
    assert under("gateways: {sales: {listeners: {mesh: {note: null}}}}").gateway.listeners["mesh"].note == "unset"
    assert under("gateways: {sales: {listeners: null}}").gateway.listeners == {}


def test_null_inside_of_what_an_overlay_adds_is_not_kept() -> None:
    with pytest.raises(PolicyError) as caught:
        under("gateways: {sales: {listeners: {new: {address: a, note: null}}}}")
    assert [one.message for one in caught.value.problems] == ["null takes a field away, but there is none here"]
    assert under("all: {listeners: {new: {address: a, note: null}}}").gateway.listeners["new"].note == "unset"


def test_what_is_for_one_gateway_comes_after_what_is_for_all() -> None:
    text = "gateways: {sales: {listeners: {mesh: {address: b}}}}\nall: {listeners: {mesh: {address: a}}}"
    assert under(text).gateway.listeners["mesh"].address == "b"


def test_later_overlays_win() -> None:
    texts = [f"all: {{listeners: {{mesh: {{address: {letter}}}}}}}" for letter in "abc"]
    assert under(*texts).gateway.listeners["mesh"].address == "c"


def test_what_is_for_another_gateway_changes_nothing() -> None:
    assert under("gateways: {platform: {listeners: null}}").gateway == under().gateway


def test_each_value_is_where_it_is_written() -> None:
    positions = under("all:\n  listeners:\n    mesh:\n      address: a\n").positions
    assert str(positions["listeners", "mesh", "address"]) == "0.yaml:5:16"
    assert str(positions["listeners", "mesh"]) == "sales.yaml:3:3"
    assert str(positions["listeners", "mesh", "networks", 1]) == "sales.yaml:5:28"


def test_an_error_in_an_overlay_is_shown_in_the_overlay() -> None:
    with pytest.raises(PolicyError) as caught:
        under("all:\n  listeners:\n    mesh: {adress: a}\n")
    assert str(caught.value).splitlines()[:4] == [
        "error: 0.yaml:4:12: listeners.mesh.adress: unknown field",
        "  |",
        "4 |     mesh: {adress: a}",
        "  |            ^^^^^^",
    ]


def test_an_error_that_all_gateways_share_is_reported_once() -> None:
    files = [Source(f"{name}.yaml", f"gateway: {name}\n") for name in ("a", "b", "c")]
    with pytest.raises(PolicyError) as caught:
        load_gateways(Gateway, files, [Source("dev.yaml", "profile: dev\nall: {x: 1}\n")])
    assert [str(one.position) for one in caught.value.problems] == ["dev.yaml:2:7"]


def test_a_gateway_that_does_not_exist_is_an_error_at_its_key() -> None:
    with pytest.raises(PolicyError) as caught:
        load_gateways(Gateway, [BASE], [Source("dev.yaml", "profile: dev\ngateways:\n  slaes: {}\n")])
    (only,) = caught.value.problems
    assert (str(only.position), only.message) == ("dev.yaml:3:3", "no gateway is called slaes")
    assert only.hint == "did you mean sales?"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("all: {}\n", "0.yaml:1:1", "missing field"),
        ("profile: Dev!\n", "0.yaml:1:10", 'expected text that matches ^[a-z][a-z0-9_-]{0,62}$, found "Dev!"'),
        ("profile: dev\nal: {}\n", "0.yaml:2:1", "unknown field"),
        ("profile: dev\nall: [1]\n", "0.yaml:2:1", "expected a map, found a list of 1"),
        ("profile: dev\ngateways: {sales: 5}\n", "0.yaml:2:19", "expected a map, found 5"),
        ("- profile\n", "0.yaml:1:1", "expected a map of fields, found a list of 1"),
        ("profile: dev\nall: &a {}\n", "0.yaml:2:6", "an anchor"),
        ("profile: [dev\n", "0.yaml:2:1", "not YAML: did not find expected ',' or ']', while parsing a flow sequence"),
        ("", "0.yaml:1:1", "the file is empty"),
    ],
)
def test_the_shape_of_an_overlay_is_checked(text: str, place: str, message: str) -> None:
    assert refusals(text)[0][1] == message
    assert refusals(text)[0][0] == place or message.startswith("not YAML")


def test_two_files_for_one_gateway_are_refused() -> None:
    with pytest.raises(PolicyError) as caught:
        load_gateways(Gateway, [BASE, Source("copy.yaml", "gateway: sales\n")])
    assert [(str(one.position), one.message) for one in caught.value.problems] == [
        ("copy.yaml:1:10", "a second gateway sales")
    ]


def test_errors_of_all_files_are_reported_together() -> None:
    files = [Source("a.yaml", "gateway: a\nx: 1\n"), Source("b.yaml", "gateway: b\ny: 1\n")]
    with pytest.raises(PolicyError) as caught:
        load_gateways(Gateway, files, [Source("dev.yaml", "profile: dev\nz: 1\n")])
    assert [str(one.position) for one in caught.value.problems] == ["a.yaml:2:1", "b.yaml:2:1", "dev.yaml:2:1"]
