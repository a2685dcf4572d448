"""What a gateway's file may say, and what is found wrong with it across its fields."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import PolicyError, Source

GATEWAYS = Path(__file__).resolve().parents[3] / "envoy" / "gateways"
Change = Callable[[dict[str, Any]], object]


def load(name: str = "marketing", change: Change = lambda policy: None) -> Gateway:
    policy = yaml.safe_load((GATEWAYS / f"{name}.yaml").read_text(encoding="utf-8"))
    change(policy)
    return load_gateway(Gateway, Source(f"{name}.yaml", yaml.safe_dump(policy, sort_keys=False))).gateway


def refusals(change: Change, name: str = "marketing") -> dict[str, str]:
    """What is wrong after a change, by path."""
    with pytest.raises(PolicyError) as caught:
        load(name, change)
    return {str(one.as_record()["path"]): one.message for one in caught.value.problems}


@pytest.mark.parametrize(
    ("change", "path", "said"),
    [
        (lambda p: p["routes"]["seo"].update(upstream="gone"), "routes.seo.upstream", "no upstream named 'gone'"),
        (lambda p: p["routes"]["seo"].update(limits=["gone"]), "routes.seo.limits[0]", "no limit named 'gone'"),
        (lambda p: p["routes"]["seo"].update(networks=["gone"]), "routes.seo.networks[0]", "no network named 'gone'"),
        (
            lambda p: p["routes"]["seo"].update(listeners=["gone"]),
            "routes.seo.listeners[0]",
            "no listener named 'gone'",
        ),
        (lambda p: p["routes"]["seo"].update(body={"POST": "gone"}), "routes.seo.body.POST", "no schema named 'gone'"),
        (lambda p: p["defaults"].update(limits=["gone"]), "defaults.limits[0]", "no limit named 'gone'"),
        (lambda p: p["callers"]["tokens"].update(gone=["x"]), "callers.tokens.gone", "no issuer named 'gone'"),
        (
            lambda p: p["listeners"]["mesh"]["tls"].update(certificate="gone"),
            "listeners.mesh.tls.certificate",
            "no certificate named 'gone'",
        ),
        (
            lambda p: p["listeners"]["mesh"]["tls"].update(client_authority="gone"),
            "listeners.mesh.tls.client_authority",
            "no authority named 'gone'",
        ),
        (
            lambda p: p["routes"].update(twin={"path": "/api/marketing/seo", "upstream": "marketing-agents"}),
            "routes.twin.path",
            "route 'seo' already serves it",
        ),
        (
            lambda p: p["routes"]["seo"].update(body={"PUT": "seo-request"}),
            "routes.seo.body.PUT",
            "PUT is not admitted",
        ),
        (lambda p: p["routes"]["seo"].update(access="public"), "defaults.limits", "counts per caller"),
        (
            lambda p: p["routes"]["seo"].update(access="public", limits=[], scopes="x"),
            "routes.seo.scopes",
            "asks nobody who they are",
        ),
        (lambda p: p.update(callers={}), "callers", "nobody is admitted"),
        (lambda p: p["callers"].update(agents=True), "callers.agents", "nothing says how agents sign"),
        (lambda p: p["tiers"].append("internal"), "limits.day.tiers", "no figure for tier 'internal'"),
        (lambda p: p["schemas"].update(bad={"type": "nothing"}), "schemas.bad", "not a JSON Schema"),
        (
            lambda p: p["schemas"]["seo-request"]["properties"].update(
                siite=p["schemas"]["seo-request"]["properties"].pop("site")
            ),
            "schemas.seo-request.required",
            "'site' is required, and no property has that name",
        ),
        (
            lambda p: p["schemas"].update(bad={"$ref": "https://example.com/schema.json"}),
            "schemas.bad",
            "not a JSON Schema",
        ),
    ],
)
def test_what_contradicts_itself_is_named_at_its_place(change: Change, path: str, said: str) -> None:
    found = refusals(change)
    assert said in found[path], found


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda p: p["routes"]["seo"].update(path="api/x"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/api//x"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/api/../x"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/api/%61"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/api/x/"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/" + "x" * 1024), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/caf\u00e9"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(path="/\uff0e\uff0e/x"), "routes.seo.path"),
        (lambda p: p["routes"]["seo"].update(methods={"TRACE": "read"}), "routes.seo.methods"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["host"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["h:0"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["unix:x"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["10.0.0.256:1"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["010.0.0.1:1"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["2852039166:1"]), "upstreams.marketing-agents"),
        (lambda p: p["upstreams"]["marketing-agents"].update(endpoints=["0xA9FEA9FE:1"]), "upstreams.marketing-agents"),
        (lambda p: p["listeners"]["mesh"].update(address="localhost:1"), "listeners.mesh.address"),
        (lambda p: p["listeners"]["mesh"].pop("tls"), "listeners.mesh"),
        (lambda p: p["limits"]["requests"].update(requests=5), "limits.requests"),
        (lambda p: p["limits"]["requests"].update(per="address"), "limits.requests"),
        (lambda p: p["limits"]["requests"]["tiers"].update(free="100"), "limits.requests"),
        (lambda p: p["limits"]["requests"]["tiers"].update(free=0), "limits.requests"),
        (lambda p: p["limits"]["requests"]["tiers"].update(free=True), "limits.requests"),
        (lambda p: p["limits"]["requests"]["tiers"].update(enterprise="internal"), "limits.requests"),
        (lambda p: p["limits"]["day"].update(time_zone="Mars/Olympus"), "limits.day.time_zone"),
        (lambda p: p["limits"]["day"].update(burst={"rate": 2, "seconds": 10}, algorithm="fixed_window"), "limits.day"),
        (lambda p: p["issuers"]["customer"].update(algorithm="none"), "issuers.customer.algorithm"),
        (lambda p: p["issuers"]["customer"].update(algorithm="HS256"), "issuers.customer"),
        (lambda p: p["issuers"]["customer"].pop("jwks"), "issuers.customer"),
        (lambda p: p["issuers"]["customer"]["jwks"].update(keys=[]), "issuers.customer.jwks"),
        (lambda p: p["issuers"]["customer"].update(leeway_seconds=61), "issuers.customer.leeway_seconds"),
        (lambda p: p["services"]["authz"].update(fail_open=True), "services.authz.fail_open"),
        (lambda p: p.update(networks={"internal": ["10.0.0.1/8"]}), "networks.internal"),
    ],
)
def test_what_cannot_be_meant_is_refused(change: Change, path: str) -> None:
    assert [found for found in refusals(change) if found.startswith(path)]


MATRIX = {
    # Requests per minute by gateway and tier (R69); what is absent is a denial (R70).
    "central": {"free": 1000, "business": 5000, "enterprise": 5000, "internal": 100_000},
    "platform": {"internal": 100},
    "marketing": {"free": 100, "business": 500, "enterprise": 500},
    "education": {"free": 200, "business": 1000, "enterprise": 1000},
    "sales": {"free": 50, "business": 200, "enterprise": 200},
    "agents": {"internal": 10_000},
}


@pytest.mark.requirement("R39", "R47", "R54", "R61", "R69", "R70")
@pytest.mark.parametrize("name", MATRIX)
def test_the_rate_matrix_is_in_the_policies(name: str) -> None:
    gateway = load(name)
    limit = gateway.limits["subject" if name == "central" else "requests"]
    assert {tier.value: limit.figure(tier) for tier in gateway.tiers} == MATRIX[name]
    assert set(limit.tiers or ()) == set(gateway.tiers)
    assert limit.burst is not None
    assert (limit.burst.rate, limit.burst.seconds) == (2, 10)


@pytest.mark.requirement("R42", "R43")
def test_only_the_free_tier_of_marketing_has_a_day() -> None:
    day = load("marketing").limits["day"]
    assert {tier.value: day.figure(tier) for tier in day.tiers or ()} == {
        "free": 10,
        "business": None,
        "enterprise": None,
    }


@pytest.mark.requirement("R37", "R45", "R52", "R59")
def test_every_endpoint_of_the_design_has_a_route() -> None:
    assert {name: len(load(name).routes) for name in MATRIX if name != "central"} == {
        "platform": 3,
        "marketing": 7,
        "education": 7,
        "sales": 5,
        "agents": 14,
    }


def test_the_version_is_of_what_a_policy_does_and_not_of_how_it_is_written() -> None:
    def reorder(policy: dict[str, Any]) -> None:
        policy["routes"] = dict(reversed(policy["routes"].items()))

    assert load(change=reorder).version == load().version
    assert load(change=lambda p: p["routes"].pop("seo")).version != load().version


def test_what_the_linter_is_told_changes_nothing_that_runs() -> None:
    def excepted(policy: dict[str, Any]) -> None:
        policy["lint_exceptions"] = {"AB303": "reports take ten minutes"}
        policy["routes"]["seo"]["lint_exceptions"] = {"AB202": "central limits these callers"}

    assert load(change=excepted).version == load().version


def test_a_tenant_s_own_figure_is_kept_apart_from_its_tier_s() -> None:
    gateway = load(change=lambda p: p["limits"]["requests"].update(tenants={"acme": 9000}))
    assert gateway.limits["requests"].tenants == {"acme": 9000}
