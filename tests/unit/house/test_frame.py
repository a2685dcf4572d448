"""What the frame of the federation asks of the shipped policies and of what is built on."""

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any

import pytest
import yaml

from apibank.explanation import explained
from policy.load import Loaded, load_gateway
from policy.model import Gateway, Route
from policy.problem import Source
from tests.support.stack import ROOT
from xds.compiler import Material, compile_, material_files
from xds.snapshot import ROUTE

# Licences by which anybody may run it for nothing, and see what it is made of (https://opensource.org/licenses).
OPEN = re.compile(
    r"\b(MIT(-0)?|Apache(-2\.0| Software)|BSD|[23]-Clause BSD|ISC|MPL-2\.0|PSF-2\.0|Unlicense|LGPLv2\+)\b|LGPLv2\+"
)


def gateway(name: str) -> Loaded[Gateway]:
    file = ROOT / "envoy" / "gateways" / f"{name}.yaml"
    return load_gateway(Gateway, Source(file.name, file.read_text(encoding="utf-8")))


@pytest.mark.requirement("R22")
def test_central_looks_into_no_body_knows_no_rule_and_changes_nothing() -> None:
    central = gateway("central").gateway
    assert not central.schemas
    assert not central.rules
    assert not central.defaults.rules
    for name, route in central.routes.items():
        assert not central.checks_body(route) or route.callers is not None, name
        assert not route.body, name
        assert not route.rules, name
        assert route.rewrite is None, name
        assert route.headers is None, name


@pytest.mark.requirement("R63")
def test_no_business_rule_applies_to_agents() -> None:
    agents = gateway("agents").gateway
    assert not agents.rules
    assert not agents.defaults.rules
    assert not any(route.rules for route in agents.routes.values())


@pytest.mark.requirement("R6")
def test_nineteen_agents_with_ten_endpoints_each_have_a_route_each() -> None:
    """And each endpoint is led to its own, by the same words by which Envoy is sent them."""
    base = gateway("marketing")
    paths = {
        f"agent-{agent}-{number}": f"/api/marketing/agent-{agent}/endpoint-{number}"
        for agent in range(19)
        for number in range(10)
    }
    assert len(paths) == 190
    routes = {
        name: Route.model_validate({"path": path, "upstream": "marketing-agents"}) for name, path in paths.items()
    }
    many = base.gateway.model_copy(update={"routes": routes})
    snapshot = compile_(Loaded(many, base.positions), material(many))
    (resource,) = snapshot.resources[ROUTE].values()
    assert all(path.encode() in resource.body for path in paths.values())
    policies = {"marketing": Loaded(many, base.positions)}
    for name, path in paths.items():
        told: Any = explained(policies, "GET", path + "/7", "marketing").as_record()
        assert told["hops"][0]["route"]["name"] == name


def material(policy: Gateway) -> Mapping[str, Material]:
    return {file: Material(b"-") for file in material_files(policy)}


@pytest.mark.requirement("R27")
def test_everything_that_is_shipped_may_be_used_for_nothing() -> None:
    lock = (ROOT / "deploy" / "requirements.lock").read_text(encoding="utf-8")
    names = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert len(names) > 50
    closed = {}
    for name in names:
        try:
            told = metadata(name)
        except PackageNotFoundError:
            # For another Python or another system: its licence is that of the same file everywhere, and not seen here.
            continue
        classes = [one for one in told.get_all("Classifier") or () if one.startswith("License ::")]
        licence = " ".join([told.get("License-Expression") or "", *classes, (told.get("License") or "")[:60]])
        if not OPEN.search(licence):
            closed[name] = licence
    assert closed == {}


@pytest.mark.requirement("R27")
def test_no_image_of_compose_asks_for_a_licence() -> None:
    compose: Any = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    written = {one["image"] for one in compose["services"].values() if "image" in one}
    images = {re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", one).partition(":")[0] for one in written}
    assert images <= {
        "apibank", "envoyproxy/envoy", "valkey/valkey", "postgres", "prom/prometheus", "prom/alertmanager",
        "grafana/grafana",
    }  # fmt: skip
