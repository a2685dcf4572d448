"""One gateway of compose.yaml, really run: control plane, services and Envoy with the containers' own commands.

Only what a container engine would do is done by hand: names become loopback addresses, and the places where files are
mounted become folders of the test.
"""

import contextlib
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deploy.make_secrets import make_secrets
from tests.support.compose import PROJECT, services
from tests.support.container import (
    ADMIN,
    METRICS,
    XDS,
    ContainerEnvoy,
    free_ports,
    get,
    healthcheck,
    moved_bootstrap,
    running_envoy,
    wait_for,
)

pytestmark = pytest.mark.e2e
GATEWAY = "marketing"


@dataclass(frozen=True)
class Deployed:
    secrets: Path
    sockets: Path
    envoy: ContainerEnvoy
    mesh: str
    control: str
    figures: str

    def call(self, path: str, certificate_of: str | None) -> tuple[int, str, bytes]:
        """(status, content type, body) of a request to the gateway's listener, as the gateway that is named."""
        context = ssl.create_default_context(cafile=self.secrets / "ca.pem")
        # Who is behind a gateway's certificate is told by its SPIFFE id, not by a host name.
        context.check_hostname = False
        if certificate_of is not None:
            folder = self.secrets / f"envoy-{certificate_of}"
            context.load_cert_chain(folder / "node.pem", folder / "node.key")
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{self.mesh}{path}", timeout=10, context=context) as answer:
                return answer.status, answer.headers["content-type"], answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["content-type"], error.read()


def _overlay(folder: Path, secrets: Path, mesh: str) -> Path:
    tls = secrets / "control-plane"
    here = {
        "certificates": {"mesh": {"chain_file": f"{tls}/{GATEWAY}-mesh.pem", "key_file": f"{tls}/{GATEWAY}-mesh.key"}},
        "authorities": {"central": {"ca_file": f"{tls}/mesh-ca.pem"}},
        "services": {part: {"endpoint": f"unix:{folder}/{part}.sock"} for part in ("authz", "ratelimit")},
        "listeners": {"mesh": {"address": f"127.0.0.1:{mesh}"}},
    }
    overlay = folder / "here.yaml"
    overlay.write_text(yaml.safe_dump({"profile": "here", "gateways": {GATEWAY: here}}))
    return overlay


def _command(service: str, moved: dict[str, str], *more: str) -> list[str]:
    words = [str(word) for word in services()[service]["command"]]
    for old, new in moved.items():
        words = [word.replace(old, new) for word in words]
    return [sys.executable, "-m", "apibank", *words, *more]


@contextlib.contextmanager
def _process(command: list[str], folder: Path, health: str) -> "Iterator[subprocess.Popen[bytes]]":
    environment = {
        **os.environ,
        "APIBANK_STATE_DIR": str(folder),
        "APIBANK_STORE": "memory",
        "APIBANK_CONTROL_TOKEN_FILE": str(folder / "secrets" / "control-token"),
    }
    log = folder / f"{command[4]}.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(lambda: get(health, "/healthz") == 200, process, seconds=60)
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    # Short: a Unix socket's path has at most 107 bytes.
    folder = tmp_path_factory.mktemp("c")
    secrets = folder / "secrets"
    make_secrets(secrets, datetime.now(UTC))
    xds, control, figures, mesh, admin, metrics = free_ports(6)
    profile = f"--profile={_overlay(folder, secrets, mesh)}"
    moved = {
        "0.0.0.0:18000": f"127.0.0.1:{xds}",
        "0.0.0.0:18001": f"127.0.0.1:{control}",
        "/etc/apibank/tls": str(secrets / "control-plane"),
    }
    control_plane = _command("control-plane", moved, profile, f"--gateway={GATEWAY}")
    gateway = _command(f"gateway-{GATEWAY}", {"0.0.0.0:18002": f"127.0.0.1:{figures}"}, profile)
    replaced = {ADMIN: admin, METRICS: metrics, XDS: xds, "address: control-plane": "address: 127.0.0.1"}
    bootstrap = moved_bootstrap(folder, secrets / f"envoy-{GATEWAY}", replaced)
    with (
        _process(gateway, folder, figures),
        _process(control_plane, folder, control),
        running_envoy(f"envoy-{GATEWAY}", bootstrap, replaced) as envoy,
    ):
        yield Deployed(secrets, folder, envoy, mesh, control, figures)


def test_the_envoy_gets_its_configuration_by_mutual_tls_and_is_healthy(deployed: Deployed) -> None:
    assert deployed.envoy.healthy()


def test_the_services_are_healthy_where_the_containers_health_check_asks(deployed: Deployed) -> None:
    addresses = [f"grpc:unix:{deployed.sockets}/{part}.sock" for part in ("authz", "ratelimit")]
    run = healthcheck(*addresses, f"http://127.0.0.1:{deployed.control}/healthz")
    assert (run.returncode, run.stderr) == (0, "")


def test_prometheus_would_find_figures_everywhere(deployed: Deployed) -> None:
    assert get(deployed.control, "/metrics") == 200
    assert get(deployed.figures, "/metrics") == 200
    assert get(deployed.envoy.metrics, "/stats/prometheus?usedonly") == 200


def test_a_request_of_central_is_decided_by_the_gateways_own_services(deployed: Deployed) -> None:
    status, content_type, body = deployed.call("/api/marketing/content", certificate_of="central")
    assert (status, content_type) == (401, "application/problem+json"), body
    assert json.loads(body)["code"] == "token_missing"


@pytest.mark.parametrize("caller", [None, "sales"])
def test_nobody_but_central_may_call_a_domain_gateway(deployed: Deployed, caller: str | None) -> None:
    with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
        deployed.call("/api/marketing/content", certificate_of=caller)
