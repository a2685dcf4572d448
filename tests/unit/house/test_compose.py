"""compose.yaml: well-formed, as closed as it can be, and in step with the repository that it mounts and builds."""

import re
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

from deploy.make_secrets import make_secrets
from tests.support.compose import FILE, PROJECT, effective, mounts, services

SECRETS = PROJECT / "deploy" / "secrets"
GATEWAYS = ("central", "platform", "marketing", "education", "sales", "agents")
DOMAINS = GATEWAYS[1:]
OURS = {name for name, service in services().items() if service["image"].startswith("apibank:")}
EVERY_SERVICE = pytest.mark.parametrize("name", sorted(services()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `python -m deploy.make_secrets` fills."""
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets(folder, datetime.now(UTC))
    return folder


def _host_path(source: str, made: Path) -> Path:
    """Where a mounted file or folder comes from on the host; secrets from where they were made for the test."""
    path = (PROJECT / source).resolve()
    return made / path.relative_to(SECRETS) if path.is_relative_to(SECRETS) else path


def test_it_is_valid_by_the_compose_specification() -> None:
    PyCompose.from_yaml(yaml.safe_dump(dict(effective()))).validate()


def test_the_security_linter_finds_nothing_at_its_strictest() -> None:
    linter = Path(sys.executable).with_name("compose-lint")
    run = subprocess.run(
        [linter, "check", "--fail-on", "low", "--strict-config", "--quiet", FILE.name],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


def test_each_gateway_has_its_envoy_and_its_services() -> None:
    expected = {f"{part}-{gateway}" for part in ("envoy", "gateway") for gateway in GATEWAYS}
    assert expected | {"control-plane", "valkey", "postgres", "prometheus", "alertmanager", "grafana"} <= set(
        services()
    )
    for gateway in GATEWAYS:
        assert re.match(r"envoyproxy/envoy:v1\.40\.", services()[f"envoy-{gateway}"]["image"])


def test_everything_that_is_depended_on_exists_and_is_waited_for() -> None:
    for name, service in services().items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services(), f"{name} depends on {needed}"
            assert how == {"condition": "service_healthy"}


def test_nothing_depends_on_itself_in_a_circle() -> None:
    waiting = {name: set(service.get("depends_on", {})) for name, service in services().items()}
    while ready := {name for name, needed in waiting.items() if not needed}:
        waiting = {name: needed - ready for name, needed in waiting.items() if name not in ready}
    assert waiting == {}


def test_no_host_port_is_published_twice_and_none_to_the_world_by_default() -> None:
    published = [port.rsplit(":", 2) for service in services().values() for port in service.get("ports", [])]
    assert len({port for _, port, _ in published}) == len(published)
    assert {address for address, _, _ in published} == {"127.0.0.1"}


def test_only_central_and_grafana_publish_ports() -> None:
    assert {name for name, service in services().items() if "ports" in service} == {"envoy-central", "grafana"}


@EVERY_SERVICE
def test_a_service_is_contained(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])


@EVERY_SERVICE
def test_a_service_has_limits_and_a_health_check(name: str) -> None:
    service = services()[name]
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])
    health = service["healthcheck"]
    assert health["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(health)


@EVERY_SERVICE
def test_a_service_reaches_only_networks_and_volumes_that_exist(name: str) -> None:
    service = services()[name]
    assert service["networks"]
    assert set(service["networks"]) <= set(effective()["networks"])
    assert {mount["source"] for mount in mounts(service, "volume")} <= set(effective()["volumes"])
    assert set(service.get("secrets", [])) <= set(effective()["secrets"])


def test_no_secret_is_written_down() -> None:
    for name, service in services().items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|KEY|CREDENTIAL|STORE|DATABASE", variable):
                assert variable.endswith("_FILE"), f"{name}: {variable}"
                assert value.startswith("/run/secrets/"), f"{name}: {variable}"
    assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", FILE.read_text("utf-8"))


def test_every_secret_is_a_file_that_make_secrets_makes(made: Path) -> None:
    for name, secret in effective()["secrets"].items():
        assert set(secret) == {"file"}
        assert _host_path(secret["file"], made).is_file(), name


def test_every_mounted_file_is_in_the_repository_or_made_by_make_secrets(made: Path) -> None:
    for name, service in services().items():
        for mount in mounts(service, "bind"):
            assert mount["read_only"] is True, name
            assert _host_path(mount["source"], made).exists(), f"{name}: {mount['source']}"


def test_no_secret_can_be_committed() -> None:
    run = subprocess.run(["git", "check-ignore", "-q", "deploy/secrets/store-url"], cwd=PROJECT, check=False)
    assert run.returncode == 0


def test_secrets_are_hidden_from_other_users_of_the_machine_but_not_from_containers(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    mounted = [_host_path(secret["file"], made) for secret in effective()["secrets"].values()]
    for service in services().values():
        for mount in mounts(service, "bind"):
            source = _host_path(mount["source"], made)
            mounted += [source, *source.rglob("*")]
    for path in mounted:
        assert path.stat().st_mode & 0o444 == 0o444, path


def test_making_the_secrets_again_keeps_them(made: Path) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    make_secrets(made, datetime.now(UTC))
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_the_authoritys_key_is_mounted_nowhere(made: Path) -> None:
    for service in services().values():
        for mount in mounts(service, "bind"):
            source = _host_path(mount["source"], made)
            assert [path.name for path in (source, *source.rglob("*")) if path.name == "ca.key"] == []


def test_an_envoy_holds_the_identity_of_its_own_gateway_alone() -> None:
    for gateway in GATEWAYS:
        sources = {mount["source"] for mount in mounts(services()[f"envoy-{gateway}"], "bind")}
        assert {source for source in sources if "secrets" in source} == {f"./deploy/secrets/envoy-{gateway}"}


def test_the_sockets_of_a_gateway_are_shared_with_no_other_gateway() -> None:
    for gateway in GATEWAYS:
        holders = {
            name
            for name, service in services().items()
            if f"sockets-{gateway}" in {mount["source"] for mount in mounts(service, "volume")}
        }
        # The control plane asks there what is known, the portal what is left of limits: neither is a gateway.
        assert holders == {f"envoy-{gateway}", f"gateway-{gateway}", "control-plane", "portal"}
        assert services()[f"envoy-{gateway}"]["user"] == services()[f"gateway-{gateway}"]["user"]


def test_no_network_joins_two_domain_gateways_except_the_one_to_the_stores_and_the_way_out() -> None:
    for network in effective()["networks"]:
        joined = {
            gateway
            for gateway in DOMAINS
            for part in ("envoy", "gateway")
            if network in services()[f"{part}-{gateway}"]["networks"]
        }
        assert len(joined) <= 1 or network in {"data", "outbound"}


def test_the_stores_are_reached_by_no_envoy() -> None:
    for store in ("valkey", "postgres"):
        (network,) = services()[store]["networks"]
        assert effective()["networks"][network]["internal"] is True
        assert [
            name for name in services() if name.startswith("envoy-") and network in services()[name]["networks"]
        ] == []


def test_what_is_not_published_cannot_be_reached_from_outside() -> None:
    open_networks = {name for name, network in effective()["networks"].items() if not network.get("internal")}
    assert open_networks == {"edge", "outbound", "monitoring"}


def test_central_calls_each_gateway_where_its_name_leads() -> None:
    central = set(services()["envoy-central"]["networks"])
    for gateway in DOMAINS:
        assert central & set(services()[f"envoy-{gateway}"]["networks"]) == {f"mesh-{gateway}"}
