"""What compose.yaml gives its Envoys - bootstrap, command line, health check - tried on a real Envoy."""

import http.client
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from apibank.cli import app
from deploy.make_secrets import GATEWAYS, make_secrets
from tests.support.compose import mounts, services
from tests.support.container import (
    ADMIN,
    BOOTSTRAP,
    METRICS,
    XDS,
    envoy_command,
    free_ports,
    get,
    moved_bootstrap,
    running_envoy,
    wait_for,
)

ENVOY = "envoy-marketing"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets(folder, datetime.now(UTC))
    return folder / ENVOY


@pytest.fixture
def ports() -> Mapping[str, str]:
    """Port in the bootstrap -> port of this test."""
    return dict(zip((ADMIN, METRICS), free_ports(2), strict=True))


def _without_control_plane(bootstrap: Path, more_listeners: Mapping[str, str]) -> Path:
    """The copy, changed so that Envoy does not wait for ADS and has copies of its listener at these ports."""
    document: dict[str, Any] = yaml.safe_load(bootstrap.read_text())
    del document["dynamic_resources"]
    listeners = document["static_resources"]["listeners"]
    for name, port in more_listeners.items():
        listener = yaml.safe_load(yaml.safe_dump(listeners[0]))
        listener["name"] = name
        listener["address"]["socket_address"]["port_value"] = int(port)
        listeners.append(listener)
    bootstrap.write_text(yaml.safe_dump(document))
    return bootstrap


def test_envoy_accepts_the_bootstrap(tmp_path: Path, certificates: Path) -> None:
    command = [*envoy_command(ENVOY, moved_bootstrap(tmp_path, certificates, {})), "--mode", "validate"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "deprecated" not in run.stderr.lower()


def test_an_envoy_in_a_container_starts_as_one_elsewhere() -> None:
    tls = ("--certificate", "/etc/envoy/tls/node.pem", "--key", "/etc/envoy/tls/node.key",
           "--authority", "/etc/envoy/tls/ca.pem")  # fmt: skip
    printed = CliRunner().invoke(
        app, ["bootstrap", "marketing", "--control-plane", f"control-plane:{XDS}", *tls,
              "--metrics-listen", f"0.0.0.0:{METRICS}"],
    )  # fmt: skip
    elsewhere = yaml.safe_load(printed.stdout)
    # Which gateway it is says the container's command line.
    del elsewhere["node"]
    assert yaml.safe_load(BOOTSTRAP.read_text("utf-8")) == elsewhere


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_every_envoy_starts_with_the_same_bootstrap_and_its_own_name(gateway: str) -> None:
    service = services()[f"envoy-{gateway}"]
    command = list(service["command"])
    assert command[command.index("--service-cluster") + 1] == gateway
    assert command[command.index("--service-node") + 1] == f"{gateway}-1"
    targets = {mount["source"]: mount["target"] for mount in mounts(service, "bind")}
    assert targets["./deploy/envoy/bootstrap.yaml"] == "/etc/envoy/bootstrap.yaml"
    assert targets[f"./deploy/secrets/envoy-{gateway}"] == "/etc/envoy/tls"


def test_an_envoy_that_waits_for_the_control_plane_is_not_healthy(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    with running_envoy(ENVOY, moved_bootstrap(tmp_path, certificates, ports), ports, "/server_info") as envoy:
        assert not envoy.healthy()


def test_an_envoy_that_is_live_without_a_listener_of_its_gateway_is_not_healthy(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    bootstrap = _without_control_plane(moved_bootstrap(tmp_path, certificates, ports), {})
    with running_envoy(ENVOY, bootstrap, ports) as envoy:
        assert not envoy.healthy()


def test_an_envoy_with_a_listener_of_its_gateway_is_healthy(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    (mesh,) = free_ports(1)
    bootstrap = _without_control_plane(moved_bootstrap(tmp_path, certificates, ports), {"mesh": mesh})
    with running_envoy(ENVOY, bootstrap, ports) as envoy:
        assert envoy.healthy()


def _asked(port: str, question: str, **more: str) -> "subprocess.Popen[bytes]":
    """What the engine of Kubernetes asks of an Envoy's pod: alive, ready, drain."""
    environment = {**os.environ, "ADMIN_PORT": port, "NOTICE_SECONDS": "0", **more}
    return subprocess.Popen(["bash", str(BOOTSTRAP.with_name("admin")), question], env=environment)


def _says(port: str, question: str) -> bool:
    return _asked(port, question).wait(30) == 0


def test_an_envoy_that_waits_for_the_control_plane_is_alive_and_not_ready(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    assert not _says(ports[ADMIN], "alive")
    with running_envoy(ENVOY, moved_bootstrap(tmp_path, certificates, ports), ports, "/server_info") as envoy:
        assert (_says(envoy.admin, "alive"), _says(envoy.admin, "ready")) == (True, False)


def test_an_envoy_leaves_when_what_is_open_has_had_its_answer(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    (mesh,) = free_ports(1)
    bootstrap = _without_control_plane(moved_bootstrap(tmp_path, certificates, ports), {"mesh": mesh})
    with running_envoy(ENVOY, bootstrap, ports) as envoy:
        assert _says(envoy.admin, "ready")
        client = http.client.HTTPConnection("127.0.0.1", int(mesh), timeout=10)
        client.request("GET", "/stats/prometheus")
        assert client.getresponse().read()
        # Long enough that only the end of the connection ends it within the bound below.
        leaving = _asked(envoy.admin, "drain", DRAIN_SECONDS="600")
        wait_for(lambda: not _says(envoy.admin, "ready"), leaving)
        connection = "keep-alive"
        while connection != "close":
            client.request("GET", "/stats/prometheus")
            answer = client.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            assert leaving.poll() is None
            connection = answer.headers.get("connection", "keep-alive")
        client.close()
        assert leaving.wait(60) == 0


def test_the_metrics_listener_shows_figures_and_nothing_of_the_admin(
    tmp_path: Path, certificates: Path, ports: Mapping[str, str]
) -> None:
    bootstrap = _without_control_plane(moved_bootstrap(tmp_path, certificates, ports), {})
    with running_envoy(ENVOY, bootstrap, ports) as envoy:
        assert get(envoy.metrics, "/stats/prometheus") == 200
        for path in ("/", "/config_dump", "/certs", "/quitquitquit", "/stats/prometheus/../../config_dump"):
            assert get(envoy.metrics, path) == 404
        assert get(envoy.metrics, "/stats/prometheus", method="POST") == 404
