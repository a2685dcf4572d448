"""deploy/kubernetes: valid by the API's schemas, whole, and as closed as Pod Security's `restricted` wants it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from deploy.make_secrets import make_secrets
from tests.support.kubernetes import (
    GATEWAYS,
    OVERLAYS,
    Resource,
    containers,
    of_kind,
    overlay,
    pods,
    render,
    selected,
)

# The oldest that has sidecars without a feature gate, and the newest that there are schemas of.
VERSIONS = ("1.29", "1.37")
EVERY_OVERLAY = pytest.mark.parametrize("name", OVERLAYS)
STORES = {"valkey", "postgres"}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What `kubectl apply -k deploy/secrets` makes: the keys of each Secret."""
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets(folder, datetime.now(UTC))
    return {one["metadata"]["name"]: set(one["data"]) for one in render(folder)}


def _sources(volume: Resource) -> Iterator[tuple[str, str, bool, list[Any]]]:
    """(kind, name, optional, items) of what a volume shows."""
    if "configMap" in volume:
        one = volume["configMap"]
        yield "ConfigMap", one["name"], one.get("optional", False), one.get("items", [])
    if "secret" in volume:
        one = volume["secret"]
        yield "Secret", one["secretName"], one.get("optional", False), one.get("items", [])
    for source in volume.get("projected", {}).get("sources", []):
        yield "Secret", source["secret"]["name"], False, source["secret"]["items"]


@EVERY_OVERLAY
@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_valid_by_the_schema_of_its_kind(name: str, version: str) -> None:
    for resource in overlay(name):
        kubernetes_validate.validate(resource, version, strict=True)


@EVERY_OVERLAY
def test_everything_is_in_the_namespace_that_restricts_pods(name: str) -> None:
    (namespace,) = of_kind(name, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    others = {one["metadata"].get("namespace") for one in overlay(name) if one["kind"] != "Namespace"}
    assert others == {namespace["metadata"]["name"]}


@EVERY_OVERLAY
def test_no_name_is_left_open(name: str) -> None:
    def texts(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            for key, each in value.items():
                yield key
                yield from texts(each)
        elif isinstance(value, list):
            for each in value:
                yield from texts(each)
        elif isinstance(value, str):
            yield value

    for resource in overlay(name):
        if resource["kind"] != "ConfigMap":
            assert [text for text in texts(resource) if text == "NAME" or text.startswith("NAME-")] == []


@EVERY_OVERLAY
def test_a_pod_is_as_restricted_as_it_can_be(name: str) -> None:
    for pod_name, pod in pods(name).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, pod_name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec), pod_name
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True, pod_name
        assert context["runAsUser"] > 0, pod_name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod_name
        assert {kind for one in spec["volumes"] for kind in one} <= {
            "name", "emptyDir", "configMap", "secret", "projected"
        }  # fmt: skip
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (pod_name, container["name"])


@EVERY_OVERLAY
def test_a_container_has_requests_a_bound_of_memory_and_probes(name: str) -> None:
    for pod_name, pod in pods(name).items():
        for container in containers(pod):
            where = (pod_name, container["name"])
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, where
            assert "memory" in container["resources"]["limits"], where
            if pod_name not in STORES:
                assert "livenessProbe" in container, where
            assert {"readinessProbe", "startupProbe"} & set(container), where
            ports = {port["name"] for port in container["ports"]}
            for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                assert port is None or port in ports, where


@EVERY_OVERLAY
def test_everything_that_is_mounted_is_there(name: str, secrets: dict[str, set[str]]) -> None:
    maps = of_kind(name, "ConfigMap")
    for pod_name, pod in pods(name).items():
        claimed = {
            one["metadata"]["name"]
            for one in of_kind(name, "StatefulSet").get(pod_name, {}).get("spec", {}).get("volumeClaimTemplates", [])
        }
        volumes = {one["name"] for one in pod["spec"]["volumes"]} | claimed
        mounted = {one["name"] for container in containers(pod) for one in container["volumeMounts"]}
        assert mounted == volumes, pod_name
        for volume in pod["spec"]["volumes"]:
            for kind, source, optional, items in _sources(volume):
                there = set(maps.get(source, {}).get("data", ())) if kind == "ConfigMap" else secrets.get(source, set())
                assert there or optional, f"{pod_name}: {kind} {source}"
                assert {one["key"] for one in items} <= there, f"{pod_name}: {kind} {source}"
        for container in containers(pod):
            named = [one["configMapRef"]["name"] for one in container.get("envFrom", [])]
            assert set(named) <= set(maps), pod_name
            # Every _FILE is one that is mounted.
            folders = {one["mountPath"] for one in container["volumeMounts"]}
            for variable in container.get("env", []):
                if variable["name"].endswith("_FILE"):
                    assert str(Path(variable["value"]).parent) in folders, (pod_name, variable["name"])


@EVERY_OVERLAY
def test_every_service_leads_to_pods_that_have_its_ports(name: str) -> None:
    for service_name, service in of_kind(name, "Service").items():
        found = selected(name, {"matchLabels": service["spec"]["selector"]})
        assert len(found) == 1, service_name
        (pod,) = (pods(name)[one] for one in found)
        ports = {port["name"]: port["containerPort"] for container in containers(pod) for port in container["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports, (service_name, port)
            if service["spec"].get("clusterIP") == "None":
                # Nobody translates ports where a name stands for the pods themselves.
                assert ports[port["targetPort"]] == port["port"], (service_name, port)


@EVERY_OVERLAY
def test_what_makes_pods_selects_its_own_and_no_others(name: str) -> None:
    for one, owner in of_kind(name, "Deployment", "StatefulSet").items():
        assert selected(name, owner["spec"]["selector"]) == {one}
        for spread in owner["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert selected(name, spread["labelSelector"]) == {one}


@EVERY_OVERLAY
def test_whatever_serves_can_lose_a_node(name: str) -> None:
    budgets = [one["spec"] for one in of_kind(name, "PodDisruptionBudget").values()]
    kept = {one for budget in budgets for one in selected(name, budget["selector"])}
    assert kept == set(of_kind(name, "Deployment")) - {"demo-agents"}
    assert {budget["maxUnavailable"] for budget in budgets} == {1}
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind(name, "HorizontalPodAutoscaler").values()}
    assert scaled == {f"{gateway}-gateway" for gateway in GATEWAYS}
    for scale in of_kind(name, "HorizontalPodAutoscaler").values():
        pod = pods(name)[scale["spec"]["scaleTargetRef"]["name"]]
        measured = {one["containerResource"]["container"] for one in scale["spec"]["metrics"]}
        assert measured == {one["name"] for one in containers(pod)}
    if name == "production":
        fixed = set(of_kind(name, "Deployment")) - scaled
        assert {one: of_kind(name, "Deployment")[one]["spec"]["replicas"] >= 2 for one in fixed} == dict.fromkeys(
            fixed, True
        )


def test_no_secret_is_rendered() -> None:
    for name in OVERLAYS:
        assert of_kind(name, "Secret") == {}


def test_all_gateways_are_the_same_but_for_their_name_and_what_they_know() -> None:
    def plain(gateway: str) -> str:
        return str(pods("production")[f"{gateway}-gateway"]).replace(gateway, "NAME")

    assert len({plain(gateway) for gateway in ("platform", "marketing", "education", "sales")}) == 1
