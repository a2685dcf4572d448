"""The overlays of envoy/profiles: each is valid over the gateways' files, and changes only what its place needs."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from policy.lint import lint_all
from policy.load import load_gateways
from policy.model import Gateway, Match, Route
from policy.modes import Mode
from policy.problem import Source

PROJECT = Path(__file__).resolve().parents[3]
GATEWAYS = sorted((PROJECT / "envoy" / "gateways").glob("*.yaml"))
PROFILES = sorted((PROJECT / "envoy" / "profiles").glob("*.yaml"))
DOMAINS = ("platform", "marketing", "education", "sales", "agents")

# Steps of moving clients behind the gateway, and what is kept for them for a time; all others are places.
MOVING = {"migration": Mode.SHADOW, "migration-optional": Mode.OPTIONAL}
KEPT = {"legacy-agents"}
# From one application to the federation, in their order, with what each brings from behind it.
STEPS = {
    "migration-catch-all": set[str](),
    "migration-platform": {"platform-health", "platform", "portal", "docs", "redoc", "openapi"},
    **{
        f"migration-{name}": {name, f"{name}-docs", f"{name}-redoc", f"{name}-openapi"}
        for name in ("marketing", "education", "sales")
    },
}
# What the overlay of a place may say. Who may call, for what, how often and with which body is the gateways' own and
# the same everywhere.
PLACE = {"networks", "issuers", "certificates", "authorities", "services", "listeners", "upstreams"}


def _source(path: Path) -> Source:
    return Source(path.relative_to(PROJECT).as_posix(), path.read_text("utf-8"))


def _gateways(*profiles: str) -> Mapping[str, Gateway]:
    overlays = [_source(PROJECT / "envoy" / "profiles" / f"{name}.yaml") for name in profiles]
    loaded = load_gateways(Gateway, [_source(path) for path in GATEWAYS], overlays)
    return {name: one.gateway for name, one in loaded.items()}


def _rules(gateway: Gateway) -> Mapping[str, object]:
    return gateway.model_dump(exclude=PLACE)


def _demands(gateway: Gateway) -> Mapping[str, object]:
    """Everything but how much of it is enforced."""
    does = gateway.model_dump(exclude={"mode", "replay", "lint_exceptions"})
    for part in (*does["routes"].values(), *does["limits"].values()):
        for field in ("mode", "lint_exceptions", "shadow"):
            part.pop(field, None)
    return does


@pytest.mark.parametrize(
    "profile",
    [one for one in PROFILES if one.stem not in MOVING.keys() | KEPT | STEPS.keys()],
    ids=lambda path: path.stem,
)
def test_a_profile_is_valid_and_changes_no_rule(profile: Path) -> None:
    plain, here = _gateways(), _gateways(profile.stem)
    assert {name: _rules(gateway) for name, gateway in here.items()} == {
        name: _rules(gateway) for name, gateway in plain.items()
    }
    assert here != plain


@pytest.mark.requirement("R109")
@pytest.mark.parametrize("profile", MOVING)
def test_moving_changes_what_is_enforced_of_the_domains_and_nothing_that_is_demanded(profile: str) -> None:
    plain, here = _gateways(), _gateways(profile)
    assert {name: _demands(one) for name, one in here.items()} == {name: _demands(one) for name, one in plain.items()}
    moved = {"marketing", "sales"}
    for name, gateway in here.items():
        for route_name, route in gateway.routes.items():
            strict = (name if name != "central" else route_name) not in moved
            assert gateway.mode_of(route) is (Mode.ENFORCE if strict else MOVING[profile]), (name, route_name)


@pytest.mark.requirement("R109", "R110", "R111")
def test_each_step_of_the_migration_brings_what_it_is_named_for_and_leaves_all_else_as_it_was() -> None:
    plain, brought, former = _gateways(), set[str](), None
    for name, routes in STEPS.items():
        here = _gateways(name)
        brought |= routes
        central = here["central"]
        assert central.routes.keys() == brought | {"everything-else", "agents"}
        rest = central.routes["everything-else"]
        assert (rest.path, rest.upstream, rest.listeners) == ("/", "legacy-backend", ("https",))
        assert central.mode_of(rest) is Mode.SHADOW
        for route in brought:
            assert _demands_of(central.routes[route]) == _demands_of(plain["central"].routes[route])
            assert (central.mode_of(central.routes[route]) is Mode.SHADOW) is (route in {"marketing", "sales"})
        assert here["agents"] == plain["agents"]
        if former is not None:
            changed = {one for one in here if here[one] != former[one]}
            assert changed == {"central", name.removeprefix("migration-")} - {"platform"}
        former = here
    assert former is not None
    # What is left is the step that there was before: what no gateway knows is refused, all else is as it was.
    shadow = _gateways("migration")
    assert {name: former[name] for name in DOMAINS} == {name: shadow[name] for name in DOMAINS}


def _demands_of(route: Route) -> Mapping[str, object]:
    return route.model_dump(exclude={"mode", "lint_exceptions"})


@pytest.mark.requirement("R112")
def test_the_old_list_of_agents_is_one_route_more_and_none_of_the_agents_own() -> None:
    plain, here = _gateways(), _gateways("legacy-agents")
    routes = dict(here["central"].routes)
    added = routes.pop("legacy-agents")
    assert routes == plain["central"].routes
    assert (added.path, added.match, added.listeners) == ("/api/agents", Match.EXACT, ("https",))
    assert added.deprecation is not None
    assert {name: one for name, one in here.items() if name != "central"} == {
        name: one for name, one in plain.items() if name != "central"
    }


@pytest.mark.requirement("R50")
@pytest.mark.parametrize("profile", [one.stem for one in PROFILES])
def test_no_profile_serves_a_child_without_its_parents_consent_or_an_agent_without_its_signature(profile: str) -> None:
    here = _gateways(profile)
    assert [one.path for gateway in here.values() for one in lint_all(gateway) if one.code == "AB112"] == []


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_a_profile_bears_the_name_of_its_file(profile: Path) -> None:
    assert profile.read_text("utf-8").startswith(f"profile: {profile.stem}\n")


@pytest.mark.parametrize("profile", ["staging", "production"])
def test_only_the_development_profiles_widen_an_allow_list(profile: str) -> None:
    plain, here = _gateways(), _gateways(profile)
    assert {name: one.networks for name, one in here.items()} == {name: one.networks for name, one in plain.items()}


def test_staging_and_production_accept_none_of_each_others_tokens() -> None:
    staging, production = _gateways("staging"), _gateways("production")
    for name in staging:
        for field in ("issuer", "audience", "jwks"):
            ours = {getattr(issuer, field) for issuer in staging[name].issuers.values()}
            theirs = {getattr(issuer, field) for issuer in production[name].issuers.values()}
            assert not ours & theirs


def test_staging_has_the_figures_of_production() -> None:
    staging, production = _gateways("staging"), _gateways("production")
    assert {name: one.limits for name, one in staging.items()} == {name: one.limits for name, one in production.items()}


def test_production_holds_browsers_to_https_for_two_years() -> None:
    tls = _gateways("production")["central"].listeners["https"].tls
    assert tls is not None
    assert tls.hsts_seconds == 2 * 365 * 24 * 3600


def test_in_compose_central_finds_each_gateway_where_it_listens() -> None:
    gateways = _gateways("compose")
    for name in DOMAINS:
        (endpoint,) = gateways["central"].upstreams[f"{name}-gateway"].endpoints
        listeners = gateways[name].listeners
        assert endpoint == f"envoy-{name}:{listeners['mesh'].address.rpartition(':')[2]}"


def test_in_compose_no_listener_needs_privileges() -> None:
    for gateway in _gateways("compose").values():
        for listener in gateway.listeners.values():
            assert int(listener.address.rpartition(":")[2]) >= 1024


def test_profiles_stack() -> None:
    central = _gateways("production", "compose")["central"]
    assert central.listeners["https"].address == "0.0.0.0:8443"
    assert central.issuers["admin"].jwks is not None
    assert central.issuers["admin"].jwks.max_stale_seconds == 3600
