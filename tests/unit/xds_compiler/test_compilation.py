"""A policy becomes one consistent snapshot that knows where each part was written."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import ExtAuthz
from envoy_data_plane.envoy.extensions.filters.http.ratelimit.v3 import RateLimit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import Source
from xds import snapshot
from xds.compiler import Material, compile_, material_files
from xds.consistency import InconsistentError, inconsistencies
from xds.snapshot import Origin, Snapshot

GATEWAYS = Path(__file__).parents[3] / "envoy" / "gateways"


TIMES = {
    "authz": {"endpoint": "unix:/run/a.sock", "timeout_ms": 654},
    "ratelimit": {"endpoint": "unix:/run/r.sock", "timeout_ms": 321},
}


def load(name: str, change: Callable[[Any], None] = lambda policy: None) -> Loaded[Gateway]:
    policy = yaml.safe_load((GATEWAYS / f"{name}.yaml").read_text())
    change(policy)
    return load_gateway(Gateway, Source(f"{name}.yaml", yaml.safe_dump(policy, sort_keys=False)))


def compiled(policy: Loaded[Gateway] | Gateway) -> Snapshot:
    gateway = policy.gateway if isinstance(policy, Loaded) else policy
    return compile_(policy, {name: Material(name.encode()) for name in material_files(gateway)})


def changed(before: Snapshot, after: Snapshot) -> set[tuple[str, str]]:
    return {
        (snapshot.SHORT_NAMES[type_url], one.name)
        for type_url, one in after
        if one.version != getattr(before.resources.get(type_url, {}).get(one.name), "version", None)
    }


def test_every_resource_knows_its_file_and_line() -> None:
    source = Source("marketing.yaml", (GATEWAYS / "marketing.yaml").read_text())
    lines = source.text.splitlines()
    for type_url, one in compiled(load_gateway(Gateway, source)):
        assert one.origin is not None
        assert one.origin.file == "marketing.yaml"
        written = lines[one.origin.line - 1].strip()
        kind = one.name.rpartition("/")[2]
        assert written.startswith((f"{kind}:", "endpoints:", "routes:")), (type_url, one.name, written)


def test_a_policy_without_positions_is_compiled_to_the_same_bytes() -> None:
    policy = load("central")
    with_places, without = compiled(policy), compiled(policy.gateway)
    assert with_places.version == without.version
    assert {one.origin for _, one in without} == {None}


def test_nothing_refers_to_what_the_snapshot_does_not_hold() -> None:
    for file in GATEWAYS.glob("*.yaml"):
        assert inconsistencies(compiled(load(file.stem))) == []


def test_a_change_changes_only_what_depends_on_it() -> None:
    def other_address(policy: Any) -> None:
        policy["upstreams"]["marketing-agents"]["endpoints"] = ["10.0.0.2:80"]

    def address(policy: Any) -> None:
        policy["upstreams"]["marketing-agents"]["endpoints"] = ["10.0.0.1:80"]

    def time_out(policy: Any) -> None:
        address(policy)
        policy["routes"]["content"]["timeout_ms"] = 1

    before = compiled(load("marketing", address))
    # The version of the policy travels in every route configuration, because authz judges by it.
    assert changed(before, compiled(load("marketing", other_address))) == {("EDS", "marketing-agents"), ("RDS", "mesh")}
    assert changed(before, compiled(load("marketing", time_out))) == {("RDS", "mesh")}


def test_a_new_certificate_changes_its_secret_alone() -> None:
    policy = load("marketing")
    material = {name: Material(name.encode()) for name in material_files(policy.gateway)}
    renewed = material | {policy.gateway.certificates["mesh"].key_file: Material(b"renewed")}
    before, after = compile_(policy, material), compile_(policy, renewed)
    assert changed(before, after) == {("SDS", "certificate/mesh")}


def test_a_file_that_was_not_given_is_named() -> None:
    with pytest.raises(KeyError, match=r"marketing-mesh\.pem"):
        compile_(load("marketing"), {})


def test_material_shows_nothing_of_itself() -> None:
    assert repr(Material(b"-----BEGIN PRIVATE KEY-----")) == "Material()"


def test_an_upstream_without_endpoints_is_sent_all_the_same() -> None:
    def nobody(policy: Any) -> None:
        policy["upstreams"]["marketing-agents"]["endpoints"] = []

    assert "marketing-agents" in compiled(load("marketing", nobody)).resources[snapshot.ENDPOINT]


def test_what_would_dangle_is_refused() -> None:
    policy = load("marketing").gateway
    upstreams = {name: one for name, one in policy.upstreams.items() if name != "marketing-agents"}
    with pytest.raises(InconsistentError, match="RDS 'mesh' refers to CDS 'marketing-agents', which does not exist"):
        compiled(policy.model_copy(update={"upstreams": upstreams}))


def connection_managers(policy: Loaded[Gateway]) -> dict[str, HttpConnectionManager]:
    managers = {}
    for name, one in compiled(policy).resources[snapshot.LISTENER].items():
        config = Listener.parse(one.body).filter_chains[0].filters[0].typed_config
        assert config is not None
        manager = config.unpack()
        assert isinstance(manager, HttpConnectionManager)
        managers[name] = manager
    return managers


def test_the_filters_stand_in_their_order() -> None:
    managers = connection_managers(load("central"))
    short = {
        name: [one.name.removeprefix("envoy.filters.http.") for one in manager.http_filters]
        for name, manager in managers.items()
    }
    first = ["local_ratelimit", "header_mutation", "health_check"]
    rest = ["buffer", "ext_authz", "ratelimit", "router"]
    assert short == {
        "https": [*first, "cors", *rest],
        "http": [*first, "router"],
        "internal_https": [*first, *rest],
    }


@pytest.mark.attack("A70")
def test_no_route_of_any_gateway_goes_past_authz() -> None:
    for file in GATEWAYS.glob("*.yaml"):
        for one in compiled(load(file.stem)).resources[snapshot.ROUTE].values():
            for route in RouteConfiguration.parse(one.body).virtual_hosts[0].routes:
                if route.redirect is not None:
                    continue
                check = route.typed_per_filter_config["envoy.filters.http.ext_authz"].unpack()
                assert check is not None
                assert check.to_dict()["checkSettings"]["contextExtensions"] == {"route": route.name}
                assert "disabled" not in check.to_dict()


def test_the_route_names_the_policy_version_and_the_listener() -> None:
    policy = load("central")
    for name, one in compiled(policy).resources[snapshot.ROUTE].items():
        host = RouteConfiguration.parse(one.body).virtual_hosts[0]
        if name == "http":
            assert not host.typed_per_filter_config
            continue
        check = host.typed_per_filter_config["envoy.filters.http.ext_authz"].unpack()
        assert check is not None
        assert check.to_dict()["checkSettings"]["contextExtensions"] == {
            "gateway": "central",
            "listener": name,
            "policy": policy.gateway.version,
        }


@pytest.mark.attack("A65")
def test_limits_fail_open_only_where_every_limit_says_so() -> None:
    def some_open(policy: Any) -> None:
        policy["limits"]["day"]["on_store_failure"] = "open"

    def all_open(policy: Any) -> None:
        for limit in policy["limits"].values():
            limit["on_store_failure"] = "open"

    def denies(change: Callable[[Any], None]) -> bool:
        filters = connection_managers(load("marketing", change))["mesh"].http_filters
        (limiter,) = [one for one in filters if one.name == "envoy.filters.http.ratelimit"]
        assert limiter.typed_config is not None
        config = limiter.typed_config.unpack()
        assert config is not None
        return bool(config.to_dict().get("failureModeDeny", False))

    assert denies(lambda policy: None)
    assert denies(some_open)
    assert not denies(all_open)


def test_the_policy_s_time_outs_are_the_ones_that_envoy_keeps() -> None:
    for manager in connection_managers(load("marketing", lambda policy: policy["services"].update(TIMES))).values():
        (limits,) = (one for one in manager.http_filters if one.name == "envoy.filters.http.ratelimit")
        # The filter's own: where it is not set Envoy waits 20 ms, whatever the gRPC service says.
        assert RateLimit.parse(limits.typed_config.value).timeout == timedelta(milliseconds=321)
        (authz,) = (one for one in manager.http_filters if one.name == "envoy.filters.http.ext_authz")
        assert ExtAuthz.parse(authz.typed_config.value).grpc_service.timeout == timedelta(milliseconds=654)


def test_origin_reads_as_people_write_places() -> None:
    assert str(Origin("a.yaml", 7)) == "a.yaml:7"
