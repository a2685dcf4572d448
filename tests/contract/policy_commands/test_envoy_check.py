"""What a real Envoy refuses is said in its words, at the line of the policy that it came from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apibank.envoy_check import EnvoyFailedError, EnvoyRefusal, envoy_refusals
from apibank.envoy_process import find_envoy
from apibank.stand_ins import with_stand_ins
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import Source
from xds.compiler import compile_
from xds.compiler.plain import plain_resource
from xds.compiler.shown import shown
from xds.snapshot import CLUSTER, LISTENER, ROUTE, Resource, Snapshot

FILE = Path(__file__).parents[3] / "envoy" / "gateways" / "marketing.yaml"
Break = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def policy() -> Loaded[Gateway]:
    return load_gateway(Gateway, Source("marketing.yaml", FILE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def snapshot(policy: Loaded[Gateway]) -> Snapshot:
    return compile_(policy, with_stand_ins(policy.gateway).material)


def broken(snapshot: Snapshot, breaks: dict[tuple[str, str], Break]) -> Snapshot:
    """The snapshot with some of its resources changed, as no policy could."""

    def changed(type_url: str, each: Resource) -> Resource:
        if (change := breaks.get((type_url, each.name))) is None:
            return each
        plain: dict[str, Any] = shown(type_url, each.body, secrets=True)
        change(plain)
        _, made = plain_resource(plain)
        return Resource.of(each.name, made.body, each.origin, each.needs)

    return Snapshot.of((type_url, changed(type_url, each)) for type_url, each in snapshot)


def refusals(snapshot: Snapshot, policy: Loaded[Gateway], breaks: dict[tuple[str, str], Break]) -> list[EnvoyRefusal]:
    return envoy_refusals(find_envoy(), broken(snapshot, breaks), policy)


def no_time(cluster: dict[str, Any]) -> None:
    cluster["connect_timeout"] = "0s"


def no_filters(listener: dict[str, Any]) -> None:
    listener["filter_chains"] = []


def bad_expression(*names: str) -> Break:
    def change(routes: dict[str, Any]) -> None:
        for route in routes["virtual_hosts"][0]["routes"]:
            if route["name"] in names:
                route["route"]["regex_rewrite"] = {"pattern": {"regex": "("}, "substitution": "x"}

    return change


def test_an_envoy_takes_what_the_compiler_makes(snapshot: Snapshot, policy: Loaded[Gateway]) -> None:
    assert refusals(snapshot, policy, {}) == []


def test_a_cluster_that_is_refused_is_named_with_the_line_of_its_upstream(
    snapshot: Snapshot, policy: Loaded[Gateway]
) -> None:
    (one,) = refusals(snapshot, policy, {(CLUSTER, "marketing-agents"): no_time})
    assert one.resource == "CDS marketing-agents"
    assert one.position == policy.positions[("upstreams", "marketing-agents")]
    assert "ConnectTimeout: value must be greater than 0s" in one.message


def test_a_listener_that_is_refused_is_named_with_its_line(snapshot: Snapshot, policy: Loaded[Gateway]) -> None:
    (one,) = refusals(snapshot, policy, {(LISTENER, "mesh"): no_filters})
    assert (one.resource, one.position) == ("LDS mesh", policy.positions[("listeners", "mesh")])
    assert "no filter chains" in one.message


def test_each_route_that_is_refused_is_found_among_the_others(snapshot: Snapshot, policy: Loaded[Gateway]) -> None:
    found = refusals(snapshot, policy, {(ROUTE, "mesh"): bad_expression("seo", "brand")})
    assert {one.path for one in found} == {("routes", "seo"), ("routes", "brand")}
    for one in found:
        assert one.position == policy.positions[one.path]
        assert "missing" in one.message


def test_a_cluster_and_a_listener_are_both_said_at_once(snapshot: Snapshot, policy: Loaded[Gateway]) -> None:
    found = refusals(snapshot, policy, {(CLUSTER, "marketing-agents"): no_time, (LISTENER, "mesh"): no_filters})
    assert [one.resource for one in found] == ["CDS marketing-agents", "LDS mesh"]


def test_no_key_is_in_what_is_said(snapshot: Snapshot, policy: Loaded[Gateway]) -> None:
    # Envoy repeats the whole configuration where a constraint is violated.
    (one,) = refusals(snapshot, policy, {(CLUSTER, "marketing-agents"): no_time})
    assert "BEGIN" not in one.message
    assert len(one.message) < 200


def test_an_envoy_that_does_not_run_is_no_verdict(snapshot: Snapshot, policy: Loaded[Gateway], tmp_path: Path) -> None:
    with pytest.raises(EnvoyFailedError):
        envoy_refusals(tmp_path / "none", snapshot, policy)
