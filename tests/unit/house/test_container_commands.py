"""What the containers are told to run, and where Prometheus looks for them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import pytest
import yaml

from apibank import running
from apibank.cli import app
from deploy import make_secrets
from policy.load import load_gateways
from policy.model import Gateway
from policy.problem import Source
from tests.support.compose import PROJECT, mounts, services
from xds.compiler import material_files

OURS = sorted(name for name, service in services().items() if service["image"].startswith("apibank:"))
GATEWAYS = make_secrets.GATEWAYS
METRICS_OF_ENVOY = 9902
OF_AGENTS = ("orchestration-engine", "agents")
STORE, DATABASE = "redis://apibank:x@valkey:6379/0", "postgresql://apibank:x@postgres:5432/apibank"


class Told(Protocol):
    """Runs a container's command line as far as the service that it would serve, and returns that service."""

    def __call__(self, name: str) -> Any: ...


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    def run(name: str) -> Any:
        served: list[Any] = []
        monkeypatch.setattr(running, "run_service", lambda service, log_level: served.append(service.args[0]))
        for variable, value in services()[name].get("environment", {}).items():
            # deploy/entrypoint puts the file's content in the setting's place.
            known = {"APIBANK_STORE_FILE": STORE, "APIBANK_DATABASE_FILE": DATABASE}
            if variable in known:
                monkeypatch.setenv(variable.removesuffix("_FILE"), known[variable])
            else:
                monkeypatch.setenv(variable, value)
        app(_command(name), standalone_mode=False)
        (service,) = served
        return service

    return run


def _command(name: str) -> list[str]:
    return [str(word) for word in services()[name]["command"]]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@cache
def _policies() -> Mapping[str, Gateway]:
    folder = PROJECT / "envoy"
    files = [Source(path.name, path.read_text("utf-8")) for path in sorted((folder / "gateways").glob("*.yaml"))]
    overlay = Source("compose.yaml", (folder / "profiles" / "compose.yaml").read_text("utf-8"))
    return {name: one.gateway for name, one in load_gateways(Gateway, files, [overlay]).items()}


def _mounted(name: str) -> dict[PurePosixPath, str]:
    """target folder in the container -> source on the host, or volume"""
    return {
        PurePosixPath(mount["target"]): mount["source"]
        for kind in ("bind", "volume")
        for mount in mounts(services()[name], kind)
    }


@pytest.mark.parametrize("name", OURS)
def test_the_command_line_and_the_environment_are_what_apibank_understands(told: Told, name: str) -> None:
    service = told(name)
    if name != "telemetry":
        assert [path.name for path in service.folder.overlays] == ["compose.yaml"]
    if name not in {"portal", *OF_AGENTS}:
        assert service.database == DATABASE
    if name not in {"control-plane", "telemetry", "portal", *OF_AGENTS}:
        assert service.store == STORE
    if name in {"platform-service", *OF_AGENTS}:
        assert service.bus == STORE


def test_the_control_plane_serves_where_envoys_call_and_with_the_identity_that_they_ask_for(told: Told) -> None:
    service = told("control-plane")
    bootstrap = yaml.safe_load((PROJECT / "deploy" / "envoy" / "bootstrap.yaml").read_text())
    (cluster,) = [one for one in bootstrap["static_resources"]["clusters"] if one["name"] == "control-plane"]
    (endpoints,) = cluster["load_assignment"]["endpoints"]
    address = endpoints["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address["address"] == "control-plane"
    assert address["port_value"] == _port(service.xds.listen)
    (matcher,) = cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"][
        "match_typed_subject_alt_names"
    ]
    assert matcher["matcher"]["exact"] == f"spiffe://{service.xds.tls.trust_domain}/control-plane"


def test_every_certificate_that_it_reads_is_mounted_in_the_control_plane(told: Told, tmp_path: Path) -> None:
    make_secrets.make_secrets(tmp_path, datetime.now(UTC))
    folder = tmp_path / PurePosixPath(_mounted("control-plane")[PurePosixPath("/etc/apibank/tls")]).name
    tls = told("control-plane").xds.tls
    named = {PurePosixPath(file) for gateway in _policies().values() for file in material_files(gateway)}
    named |= {PurePosixPath(file) for file in (tls.certificate, tls.key, tls.authority)}
    assert {path for path in named if path.parent != PurePosixPath("/etc/apibank/tls")} == set()
    assert {path.name for path in named} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_envoy_services_and_control_plane_meet_at_the_sockets_that_the_policy_names(gateway: str) -> None:
    declared = _policies()[gateway].services
    sockets = [declared.authz.endpoint.removeprefix("unix:"), declared.ratelimit.endpoint.removeprefix("unix:")]
    for name in (f"envoy-{gateway}", f"gateway-{gateway}", "control-plane"):
        mounted = _mounted(name)
        assert [mounted[PurePosixPath(path).parent] for path in sockets] == [f"sockets-{gateway}"] * 2
    assert services()[f"gateway-{gateway}"]["healthcheck"]["test"][2:] == [f"grpc:unix:{path}" for path in sockets]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_gateways_services_serve_that_gateway_and_have_the_secrets_that_its_policy_names(
    told: Told, gateway: str
) -> None:
    name = f"gateway-{gateway}"
    assert told(name).name == gateway
    agents = _policies()[gateway].agents
    mounted = _mounted(name)
    if agents is None:
        assert "./deploy/secrets/agents" not in mounted.values()
    else:
        assert mounted[PurePosixPath(agents.secrets_directory)] == "./deploy/secrets/agents"


@pytest.mark.parametrize(
    ("gateway", "name"), [("platform", "platform-service"), ("agents", "orchestration-engine"), ("central", "portal")]
)
def test_a_service_of_ours_is_where_its_gateways_policy_looks_for_it(told: Told, gateway: str, name: str) -> None:
    port = _port(told(name).listen)
    assert f"{name}:{port}" in _policies()[gateway].upstreams[name].endpoints
    assert set(services()[name]["networks"]) & set(services()[f"envoy-{gateway}"]["networks"])


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_port_that_is_published_is_one_that_the_policy_opens(gateway: str) -> None:
    opened = {_port(listener.address) for listener in _policies()[gateway].listeners.values()}
    published = {int(port.rsplit(":", 1)[1]) for port in services()[f"envoy-{gateway}"].get("ports", [])}
    assert published <= opened
    assert METRICS_OF_ENVOY not in published | opened


def test_agents_are_not_reached_from_outside() -> None:
    central = _policies()["central"]
    internal = _port(central.listeners["internal_https"].address)
    assert [port for port in services()["envoy-central"]["ports"] if port.endswith(f":{internal}")] == []


def test_prometheus_asks_every_service_of_ours_and_every_envoy_where_it_answers(told: Told) -> None:
    config = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target for job in config["scrape_configs"] for group in job["static_configs"] for target in group["targets"]
    }
    expected = {f"envoy-{gateway}:{METRICS_OF_ENVOY}" for gateway in GATEWAYS}
    at = {"control-plane": "control_listen"} | dict.fromkeys(
        ("portal", "platform-service", "orchestration-engine"), "listen"
    )
    expected |= {f"{name}:{_port(getattr(told(name), at.get(name, 'metrics_listen')))}" for name in OURS}
    assert targets == expected | {"127.0.0.1:9090", "alertmanager:9093"}


def test_alerts_reach_an_alertmanager_that_has_a_receiver_for_each_severity() -> None:
    config = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    (managers,) = config["alerting"]["alertmanagers"]
    (target,) = managers["static_configs"][0]["targets"]
    assert target.rpartition(":")[0] in services()
    told = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "alertmanager.yml").read_text())
    routes = [told["route"], *told["route"]["routes"]]
    assert {route["receiver"] for route in routes} == {receiver["name"] for receiver in told["receivers"]}
    assert [route["matchers"] for route in routes[1:]] == [['severity="page"']]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_the_portal_reaches_who_counts(gateway: str) -> None:
    path = PurePosixPath(_policies()[gateway].services.ratelimit.endpoint.removeprefix("unix:"))
    assert _mounted("portal")[path.parent] == f"sockets-{gateway}"
    assert services()["portal"]["user"] == services()[f"gateway-{gateway}"]["user"]


def test_the_console_asks_the_control_plane_where_it_answers(told: Told) -> None:
    console = told("portal").developer.console
    host, _, port = console.control_api.removeprefix("http://").partition(":")
    assert (host, int(port)) == ("control-plane", _port(told("control-plane").control_listen))
    assert set(services()["portal"]["networks"]) & set(services()[host]["networks"])
    assert "control-token" in services()["portal"]["secrets"]


def test_prometheus_shares_a_network_with_everything_that_it_asks() -> None:
    reach = set(services()["prometheus"]["networks"])
    for name in [*OURS, *(f"envoy-{gateway}" for gateway in GATEWAYS)]:
        assert reach & set(services()[name]["networks"]), name
