"""What the pods of deploy/kubernetes are told to run, where they find each other, and who may reach whom."""

import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import pytest
import yaml

from apibank import running
from apibank.cli import app
from apibank.envoy_process import find_envoy
from deploy.make_secrets import make_secrets
from policy.load import load_gateways
from policy.model import Gateway
from policy.problem import Source
from tests.support.compose import PROJECT
from tests.support.container import BOOTSTRAP
from tests.support.kubernetes import FOLDER, GATEWAYS, OVERLAYS, command, containers, of_kind, pods, selects, settings
from xds.compiler import material_files

DOMAINS = GATEWAYS[1:]
EVERY_OVERLAY = pytest.mark.parametrize("name", OVERLAYS)
STORE, DATABASE = "redis://apibank:x@valkey:6379/0", "postgresql://apibank:x@postgres:5432/apibank"
OURS = [(name, pod) for name in OVERLAYS for pod in pods(name) if pod not in {"valkey", "postgres"}]


class Told(Protocol):
    """Runs the command line of a pod's container of ours as far as the service that it would serve."""

    def __call__(self, name: str, pod: str) -> Any: ...


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Told:
    def run(name: str, pod: str) -> Any:
        served: list[Any] = []
        monkeypatch.setattr(running, "run_service", lambda service, log_level: served.append(service.args[0]))
        (container,) = (one for one in containers(pods(name)[pod]) if one["image"].startswith("apibank:"))
        for folder, file in (("policies", ""), ("place", "place.yaml")):
            mounted = tmp_path / folder / "..data"
            mounted.mkdir(parents=True, exist_ok=True)
            if file:
                (mounted / file).write_text((FOLDER / "overlays" / "production" / file).read_text("utf-8"), "utf-8")
        for text in (PROJECT / "envoy" / "gateways").glob("*.yaml"):
            (tmp_path / "policies" / "..data" / text.name).write_text(text.read_text("utf-8"), "utf-8")
        environment = settings(name, container)
        environment |= {one["name"]: one["value"] for one in container["env"] if "value" in one}
        known = {"APIBANK_STORE_FILE": STORE, "APIBANK_DATABASE_FILE": DATABASE}
        for variable, value in environment.items():
            if variable in known:
                # deploy/entrypoint puts the file's content in the setting's place.
                monkeypatch.setenv(variable.removesuffix("_FILE"), known[variable])
            else:
                monkeypatch.setenv(variable, value.replace("/etc/apibank/p", f"{tmp_path}/p"))
        app(command(container, settings(name, container)), standalone_mode=False)
        (service,) = served
        return service

    return run


@cache
def _policies(name: str) -> Mapping[str, Gateway]:
    overlays = [PROJECT / "envoy" / "profiles" / "kubernetes.yaml"]
    if name == "production":
        overlays.insert(0, PROJECT / "envoy" / "profiles" / "production.yaml")
        overlays.append(FOLDER / "overlays" / "production" / "place.yaml")
    files = sorted((PROJECT / "envoy" / "gateways").glob("*.yaml"))
    sources = [[Source(path.name, path.read_text("utf-8")) for path in some] for some in (files, overlays)]
    return {gateway: one.gateway for gateway, one in load_gateways(Gateway, *sources).items()}


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


def _opened(name: str, pod: str) -> set[int]:
    return {port["containerPort"] for container in containers(pods(name)[pod]) for port in container["ports"]}


@pytest.mark.parametrize(("name", "pod"), OURS)
def test_apibank_understands_its_command_line_and_its_settings(told: Told, name: str, pod: str) -> None:
    service = told(name, pod)
    if hasattr(service, "folder"):
        profiles = [path.stem for path in service.folder.overlays]
        assert profiles == (["production", "kubernetes", "place"] if name == "production" else ["kubernetes"])
        assert set(service.folder.written_names()) <= set(GATEWAYS)
    places = [getattr(service, one, None) for one in ("listen", "control_listen", "metrics_listen")]
    places.append(service.xds.listen if hasattr(service, "xds") else None)
    listens = {_port(place) for place in places if place}
    assert listens <= _opened(name, pod)
    for field, expected in (("database", DATABASE), ("store", STORE), ("bus", STORE)):
        assert getattr(service, field, expected) == expected


@EVERY_OVERLAY
@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_gateways_pod_serves_that_gateway_where_its_policy_says(told: Told, name: str, gateway: str) -> None:
    pod = f"{gateway}-gateway"
    service = told(name, pod)
    assert service.name == gateway
    scale = of_kind(name, "HorizontalPodAutoscaler")[pod]["spec"]
    assert service.replicas == scale["minReplicas"]
    policy = _policies(name)[gateway]
    listeners = {_port(one.address) for one in policy.listeners.values()}
    # What is open is what the policy opens, and the figures.
    assert listeners | {9902, 18002} == _opened(name, pod)
    mounted = {one["mountPath"] for one in next(containers(pods(name)[pod]))["volumeMounts"]}
    for endpoint in (policy.services.authz.endpoint, policy.services.ratelimit.endpoint):
        assert endpoint.startswith("unix:/run/apibank/")
        for container in containers(pods(name)[pod]):
            assert {"name": "sockets", "mountPath": "/run/apibank"}.items() <= container["volumeMounts"][0].items()
    assert (policy.agents is None) == ("/run/secrets/apibank/agents" not in mounted)
    assert policy.agents is None or str(policy.agents.secrets_directory) in mounted


@EVERY_OVERLAY
def test_names_in_policies_lead_to_services_and_their_ports(name: str) -> None:
    ports = {
        service_name: {port["port"] for port in service["spec"]["ports"]}
        for service_name, service in of_kind(name, "Service").items()
    }
    named = {f"{gateway}-gateway" for gateway in DOMAINS} | {"portal", "platform-service", "orchestration-engine"}
    found = set()
    for policy in _policies(name).values():
        telemetry = policy.services.telemetry
        assert telemetry is not None
        endpoints = [telemetry.endpoint, *(one for upstream in policy.upstreams.values() for one in upstream.endpoints)]
        for endpoint in endpoints:
            host = endpoint.rpartition(":")[0]
            if host in ports:
                assert _port(endpoint) in ports[host], endpoint
                found.add(host)
    assert found == named | {"telemetry"}


@EVERY_OVERLAY
def test_the_control_plane_asks_all_pods_of_every_gateway(told: Told, name: str) -> None:
    service = told(name, "control-plane")
    asks = {gateway: list(places) for gateway, places in service.gateway_hosts.items()}
    assert asks == {gateway: [f"{gateway}-services:18002"] for gateway in GATEWAYS}
    for gateway in GATEWAYS:
        asked = of_kind(name, "Service")[f"{gateway}-services"]["spec"]
        assert (asked["clusterIP"], asked["publishNotReadyAddresses"]) == ("None", True)


def test_every_certificate_that_it_reads_is_in_its_secret(told: Told, tmp_path: Path) -> None:
    make_secrets(tmp_path / "secrets", datetime.now(UTC))
    made = {path.name for path in (tmp_path / "secrets" / "control-plane").iterdir()}
    tls = told("production", "control-plane").xds.tls
    named = {str(file) for policy in _policies("production").values() for file in material_files(policy)}
    named |= {str(file) for file in (tls.certificate, tls.key, tls.authority)}
    assert {Path(file).name for file in named} <= made
    assert {str(Path(file).parent) for file in named} == {"/etc/apibank/tls"}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_envoy_accepts_its_command_line_and_its_bootstrap(gateway: str, tmp_path: Path) -> None:
    name = "production"
    make_secrets(tmp_path, datetime.now(UTC))
    (start,) = (one for one in of_kind(name, "ConfigMap").values() if "bootstrap.yaml" in one["data"])
    assert start["data"]["bootstrap.yaml"] == BOOTSTRAP.read_text("utf-8")
    bootstrap = tmp_path / "bootstrap.yaml"
    moved = start["data"]["bootstrap.yaml"].replace("/etc/envoy/tls", str(tmp_path / f"envoy-{gateway}"))
    bootstrap.write_text(moved, "utf-8")
    (envoy,) = (one for one in containers(pods(name)[f"{gateway}-gateway"]) if one["name"] == "envoy")
    words = command(envoy, {"POD": f"{gateway}-gateway-0"})
    assert words[words.index("--service-cluster") + 1] == gateway
    words = [word.replace("/etc/envoy/start/bootstrap.yaml", str(bootstrap)) for word in words[1:]]
    run = subprocess.run(
        [str(find_envoy()), *words, "--mode", "validate"], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    (cluster,) = (
        one for one in yaml.safe_load(moved)["static_resources"]["clusters"] if one["name"] == "control-plane"
    )
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    xds = of_kind(name, "Service")[address["address"]]["spec"]["ports"]
    assert address["port_value"] in {port["port"] for port in xds}


@EVERY_OVERLAY
def test_a_pod_is_given_the_time_that_its_envoy_takes_to_leave(name: str) -> None:
    for gateway in GATEWAYS:
        spec = pods(name)[f"{gateway}-gateway"]["spec"]
        (envoy,) = spec["containers"]
        seconds = {one["name"]: int(one["value"]) for one in envoy["env"] if one["name"].endswith("_SECONDS")}
        assert set(seconds) == {"NOTICE_SECONDS", "DRAIN_SECONDS"}
        assert spec["terminationGracePeriodSeconds"] >= sum(seconds.values()) + 10


def _reached(name: str, *ends: str) -> set[tuple[str, str, int]]:
    """(from, to, port) of every connection between an overlay's pods that the policies admit at these ends."""
    policies = [one["spec"] for one in of_kind(name, "NetworkPolicy").values()]

    def admits(kind: str, this: Mapping[str, str], other: Mapping[str, str], port: int) -> bool:
        for policy in policies:
            if kind.capitalize() not in policy["policyTypes"] or not selects(policy["podSelector"], this):
                continue
            for rule in policy.get(kind, []):
                peers = rule.get("from" if kind == "ingress" else "to")
                # Without ipBlock: pods, of this namespace or of any.
                of_pods = [one for one in peers or () if selects(one.get("podSelector", {}), other)]
                of_pods = [one for one in of_pods if "ipBlock" not in one]
                of_pods = [one for one in of_pods if one.get("namespaceSelector", {}) == {}]
                if (peers is None or of_pods) and port in {one["port"] for one in rule["ports"]}:
                    return True
        return False

    labels = {pod: one["metadata"]["labels"] for pod, one in pods(name).items()}
    return {
        (here, there, port)
        for here in labels
        for there in labels
        for port in _opened(name, there)
        if ("egress" not in ends or admits("egress", labels[here], labels[there], port))
        and ("ingress" not in ends or admits("ingress", labels[there], labels[here], port))
    }


def test_who_may_reach_whom_is_this_and_nothing_else() -> None:
    gateways = {gateway: f"{gateway}-gateway" for gateway in GATEWAYS}
    expected = {(gateways["central"], gateways[domain], 8443) for domain in DOMAINS}
    expected |= {(pod, "control-plane", 18000) for pod in gateways.values()}
    expected |= {("control-plane", pod, 18002) for pod in gateways.values()}
    expected |= {(pod, "telemetry", 18003) for pod in gateways.values()}
    expected |= {
        (gateways["central"], "portal", 8080),
        (gateways["platform"], "platform-service", 8080),
        (gateways["agents"], "orchestration-engine", 8080),
        ("portal", "control-plane", 18001),
        # The public door, from within too: who asks there is asked who it is.
        (gateways["central"], gateways["central"], 8443),
    }
    ours = {pod for pod in pods("development") if pod not in {"valkey", "postgres"}}
    expected |= {(pod, store, port) for pod in ours for store, port in (("valkey", 6379), ("postgres", 5432))}
    assert _reached("development", "egress", "ingress") == expected
    # Whoever is reached says so alone, too, so that neither end has to be trusted with the other's. Central's public
    # doors are everybody's.
    public = {(pod, gateways["central"], port) for pod in pods("development") for port in (8443, 8080)}
    assert _reached("development", "ingress") == expected | public


def test_outside_reaches_the_public_doors_alone() -> None:
    for name in OVERLAYS:
        open_to_all = [
            (policy["metadata"]["name"], {port["port"] for port in rule["ports"]})
            for policy in of_kind(name, "NetworkPolicy").values()
            for rule in policy["spec"].get("ingress", [])
            if "from" not in rule or any("ipBlock" in one for one in rule["from"])
        ]
        assert open_to_all == [("central-edge", {8443, 8080})]
        balancers = [one for one, each in of_kind(name, "Service").items() if each["spec"].get("type") is not None]
        assert balancers == ["central-gateway"]
        assert {port["port"] for port in of_kind(name, "Service")["central-gateway"]["spec"]["ports"]} == {443, 80}


def test_prometheus_finds_the_figures_of_every_pod_once_and_may_reach_them() -> None:
    config = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "kubernetes.yml").read_text("utf-8"))
    kept = {
        job["job_name"]: re.compile(rule["regex"])
        for job in config["scrape_configs"]
        for rule in job["relabel_configs"]
        if rule.get("action") == "keep"
    }
    admitted = [
        (policy["spec"]["podSelector"], {port["port"] for port in rule["ports"]})
        for policy in of_kind("production", "NetworkPolicy").values()
        for rule in policy["spec"].get("ingress", [])
        for peer in rule.get("from", [])
        if peer.get("namespaceSelector") == {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    ]
    found: dict[str, set[str]] = {}
    for pod_name, pod in pods("production").items():
        labels = pod["metadata"]["labels"]
        for container in containers(pod):
            for port in container["ports"]:
                jobs = [job for job, rule in kept.items() if rule.fullmatch(f"{labels['app']};{port['name']}")]
                assert len(jobs) <= 1
                reached = any(selects(who, labels) and port["containerPort"] in ports for who, ports in admitted)
                assert bool(jobs) == reached, (pod_name, port)
                found.setdefault(pod_name, set()).update(jobs)
    gateways = {f"{gateway}-gateway": {"gateway", "envoy"} for gateway in GATEWAYS}
    others = {one: {"services"} for one in ("telemetry", "portal", "platform-service", "orchestration-engine")}
    assert found == gateways | others | {"control-plane": {"control-plane"}}
