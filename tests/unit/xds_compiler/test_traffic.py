"""Traffic policies change the routes that have them, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import Route, RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthzPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from xds import snapshot
from xds.compiler import compile_
from xds.compiler.filters import ext_authz
from xds.snapshot import Snapshot

FILE = Path(__file__).parents[2] / "golden" / "policies" / "traffic.yaml"


def compiled(changes: dict[str, dict[str, Any] | None] | None = None, **gateway: Any) -> Snapshot:
    """The policy of every traffic policy, with other routes (None: without that route) and other fields."""
    policy = yaml.safe_load(FILE.read_text())
    policy.update(gateway)
    for name, route in (changes or {}).items():
        policy["routes"][name] = route
    policy["routes"] = {name: route for name, route in policy["routes"].items() if route is not None}
    return compile_(load_gateway(Gateway, Source(FILE.name, yaml.safe_dump(policy))), {})


def routes(of: Snapshot, listener: str = "busy") -> list[Route]:
    return RouteConfiguration.parse(of.resources[snapshot.ROUTE][listener].body).virtual_hosts[0].routes


def filters(of: Snapshot, listener: str) -> list[str]:
    (chain,) = Listener.parse(of.resources[snapshot.LISTENER][listener].body).filter_chains
    assert chain.filters[0].typed_config is not None
    return [one.name for one in HttpConnectionManager.parse(chain.filters[0].typed_config.value).http_filters]


def test_a_listener_has_the_filters_that_its_routes_need_and_no_other() -> None:
    whole = compiled()
    extra = {"envoy.filters.http.cors", "envoy.filters.http.fault", "local_limit"}
    assert extra <= set(filters(whole, "busy"))
    assert not extra & set(filters(whole, "quiet"))
    assert [one for one in filters(whole, "busy") if one not in extra] == filters(whole, "quiet")


def test_what_could_hurt_a_service_stands_behind_authorization() -> None:
    order = filters(compiled(), "busy")
    judged = order.index(ext_authz.NAME)
    assert order.index("local_limit") > judged
    assert order.index("envoy.filters.http.fault") > judged


def test_nobody_is_asked_only_where_envoy_answers_by_itself() -> None:
    for route in routes(compiled()):
        settings = ExtAuthzPerRoute.parse(route.typed_per_filter_config[ext_authz.NAME].value)
        assert bool(settings.disabled) == (route.direct_response is not None), route.name
        assert (route.name in {"maintenance", "removed"}) == bool(settings.disabled)


@pytest.mark.parametrize(
    ("route", "leads_to"),
    [
        ({"upstream": "blue"}, {"blue"}),
        ({"split": {"blue": 1, "green": 0}}, {"blue", "green"}),
        ({"upstream": "blue", "mirror": [{"upstream": "shadow"}]}, {"blue", "shadow"}),
        ({"split": {"green": 1}, "mirror": [{"upstream": "shadow"}]}, {"green", "shadow"}),
        ({"redirect": {"https": True}}, set()),
        ({"upstream": "blue", "maintenance": {"message": "Back soon"}}, set()),
        ({"upstream": "blue", "deprecation": {"since": "2026-01-01", "removed": True}}, set()),
        ({"upstream": "blue", "deprecation": {"since": "2026-01-01"}}, {"blue"}),
    ],
)
def test_a_route_configuration_needs_every_upstream_to_which_it_leads(
    route: dict[str, Any], leads_to: set[str]
) -> None:
    only = dict.fromkeys(yaml.safe_load(FILE.read_text())["routes"])
    whole = compiled({**only, "one": {"path": "/one", **route}})
    needs = whole.resources[snapshot.ROUTE]["busy"].needs
    assert {name for type_url, name in needs if type_url == snapshot.CLUSTER} == leads_to


def test_maintenance_comes_and_goes_in_the_routes_alone() -> None:
    before = compiled()
    plain = {"path": "/plain", "upstream": "blue"}
    during = compiled({"plain": {**plain, "maintenance": {"message": "Back soon"}}})
    after = compiled({"plain": plain})
    assert after.version == before.version
    changed = {
        (snapshot.SHORT_NAMES[type_url], one.name)
        for type_url, one in during
        if before.resources[type_url][one.name].version != one.version
    }
    assert changed == {("RDS", "busy"), ("RDS", "quiet")}


def test_unsafe_retries_are_for_their_methods_and_the_others_keep_the_safe_ones() -> None:
    narrow, rest = [one for one in routes(compiled()) if one.name == "retries"]
    assert narrow.match is not None
    assert narrow.match.headers[0].name == ":method"
    assert narrow.route is not None
    assert rest.route is not None
    assert narrow.route.retry_policy is not None
    assert rest.route.retry_policy is None
    assert narrow.typed_per_filter_config.keys() == rest.typed_per_filter_config.keys()


def test_plain_routes_are_what_they_are_beside_any_others() -> None:
    plain = {"plain": {"path": "/plain", "upstream": "blue"}}
    beside = next(one for one in routes(compiled()) if one.name == "plain")
    alone = compiled(dict.fromkeys(yaml.safe_load(FILE.read_text())["routes"]) | plain)
    assert [bytes(one) for one in routes(alone)] == [bytes(beside)]
