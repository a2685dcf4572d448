"""One gateway of deploy/kubernetes, really run: the commands of its pod's containers and of the control plane's.

What a cluster would do is done by hand: names become loopback addresses, and mounted files are folders of the test,
which ConfigMaps reach as kubelet brings them, each pod its own and in its own time.
"""

import contextlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from apibank.envoy_process import find_envoy
from apibank.policies import shipped
from deploy.make_secrets import make_secrets
from tests.support.compose import PROJECT
from tests.support.container import ADMIN, BOOTSTRAP, METRICS, XDS, free_ports, get, moved_bootstrap, wait_for
from tests.support.kubernetes import ConfigMapVolume, command, containers, pods, settings

pytestmark = pytest.mark.e2e
GATEWAY = "marketing"
SHIPPED = shipped("gateways", f"{GATEWAY}.yaml").read_text("utf-8")


def _place(folder: Path, mesh: str, nobody: str) -> str:
    tls = folder / "secrets" / "control-plane"
    services: dict[str, object] = {
        part: {"endpoint": f"unix:{folder}/{part}.sock", "timeout_ms": 2000} for part in ("authz", "ratelimit")
    }
    here = {
        "certificates": {"mesh": {"chain_file": f"{tls}/{GATEWAY}-mesh.pem", "key_file": f"{tls}/{GATEWAY}-mesh.key"}},
        "authorities": {"central": {"ca_file": f"{tls}/mesh-ca.pem"}},
        "services": services | {"telemetry": {"endpoint": f"127.0.0.1:{nobody}"}},
        "listeners": {"mesh": {"address": f"127.0.0.1:{mesh}"}},
    }
    return yaml.safe_dump({"profile": "place", "gateways": {GATEWAY: here}})


def _words(pod: str, name: str, more: Mapping[str, str], moved: Mapping[str, str]) -> list[str]:
    (container,) = (one for one in containers(pods("production")[pod]) if one["name"] == name)
    words = command(container, {**settings("production", container), **more})
    for old, new in moved.items():
        words = [word.replace(old, new) for word in words]
    return words


@contextlib.contextmanager
def _process(words: Sequence[str], log: Path, environment: Mapping[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    with (
        log.open("wb") as output,
        subprocess.Popen(
            words, cwd=PROJECT, env={**os.environ, **environment}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@dataclass(frozen=True)
class Pod:
    """The gateway's pod and the control plane's, with a volume of policies each."""

    folder: Path
    policies: Mapping[str, ConfigMapVolume]
    mesh: str
    control: str
    figures: str
    admin: str
    envoy: "subprocess.Popen[bytes]"

    def call(self, path: str) -> tuple[int, str]:
        """(status, code) of central's request to the gateway."""
        secrets = self.folder / "secrets"
        context = ssl.create_default_context(cafile=secrets / "ca.pem")
        # Who is behind a gateway's certificate is told by its SPIFFE id, not by a host name.
        context.check_hostname = False
        context.load_cert_chain(secrets / "envoy-central" / "node.pem", secrets / "envoy-central" / "node.key")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"https://127.0.0.1:{self.mesh}{path}", timeout=10, context=context)
        return refused.value.code, json.loads(refused.value.read())["code"]

    def state(self) -> dict[str, Any]:
        """What the control plane says of the gateway."""
        token = (self.folder / "secrets" / "control-token").read_text("utf-8").strip()
        url = f"http://127.0.0.1:{self.control}/v1/status?resources=false"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())["gateways"]
        (one,) = found
        return one

    def says(self, question: str) -> bool:
        """What kubelet is told by the Envoy's container."""
        return _asked(self.admin, question)


def _asked(admin: str, question: str) -> bool:
    environment = {**os.environ, "ADMIN_PORT": admin, "NOTICE_SECONDS": "0", "DRAIN_SECONDS": "10"}
    words = ["bash", str(BOOTSTRAP.with_name("admin")), question]
    return subprocess.run(words, env=environment, check=False, timeout=60).returncode == 0


def _environment(folder: Path, pod: str, policies: ConfigMapVolume, place: ConfigMapVolume) -> dict[str, str]:
    return {
        "APIBANK_POLICIES": str(policies.data),
        "APIBANK_PROFILE": json.dumps(["production", "kubernetes", str(place.data / "place.yaml")]),
        "APIBANK_STATE_DIR": str(folder / pod),
        "APIBANK_DATABASE": f"sqlite:///{folder}/apibank.db",
        "APIBANK_STORE": "memory",
        "APIBANK_CONTROL_TOKEN_FILE": str(folder / "secrets" / "control-token"),
        "APIBANK_AUDIT_KEY_FILE": str(folder / "secrets" / "audit-key"),
    }


@pytest.fixture
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    # Short: a Unix socket's path has at most 107 bytes.
    folder = tmp_path_factory.mktemp("k")
    secrets = folder / "secrets"
    make_secrets(secrets, datetime.now(UTC))
    xds, control, figures, mesh, admin, metrics, nobody = free_ports(7)
    place = ConfigMapVolume(folder / "place")
    place.put(place=_place(folder, mesh, nobody))
    policies = {name: ConfigMapVolume(folder / f"policies-{name}") for name in ("control-plane", "gateway")}
    for volume in policies.values():
        volume.put(**{GATEWAY: SHIPPED})
    moved = {
        "0.0.0.0:18000": f"127.0.0.1:{xds}",
        "0.0.0.0:18001": f"127.0.0.1:{control}",
        "0.0.0.0:18002": f"127.0.0.1:{figures}",
        "/etc/apibank/tls": str(secrets / "control-plane"),
        f"={GATEWAY}-services:18002": f"=localhost:{figures}",
    }
    python = [sys.executable, "-m", "apibank"]
    words = _words("control-plane", "control-plane", {}, moved)
    # The other gateways have no pods here.
    words = [one for one in words if not one.startswith("--gateway-host") or one.endswith(figures)]
    control_plane = [*python, *words, f"--gateway={GATEWAY}"]
    services = [*python, *_words(f"{GATEWAY}-gateway", "services", {}, moved)]
    replaced = {ADMIN: admin, METRICS: metrics, XDS: xds, "address: control-plane": "address: 127.0.0.1"}
    bootstrap = moved_bootstrap(folder, secrets / f"envoy-{GATEWAY}", replaced)
    start = {"/etc/envoy/start/bootstrap.yaml": str(bootstrap)}
    envoy = [str(find_envoy()), *_words(f"{GATEWAY}-gateway", "envoy", {"POD": "marketing-gateway-x7"}, start)[1:]]
    environments = {name: _environment(folder, name, volume, place) for name, volume in policies.items()}
    with (
        _process(services, folder / "services.log", environments["gateway"]) as sidecar,
        _process(control_plane, folder / "control-plane.log", environments["control-plane"]) as plane,
        _process(envoy, folder / "envoy.log", {}) as proxy,
    ):
        wait_for(lambda: get(figures, "/healthz") == 200, sidecar, 60)
        wait_for(lambda: get(control, "/healthz") == 200, plane, 60)
        wait_for(lambda: _asked(admin, "ready"), proxy, 60)
        yield Pod(folder, policies, mesh, control, figures, admin, proxy)


def test_a_pod_serves_takes_a_change_when_every_pod_has_it_and_leaves(pod: Pod) -> None:
    assert pod.call("/api/marketing/content") == (401, "token_missing")
    assert pod.call("/api/marketing/stories") == (404, "not_found")

    # One route more, which the control plane's kubelet brings first.
    route = "  stories:\n    path: /api/marketing/stories\n    upstream: marketing-agents\n"
    changed = SHIPPED.replace("routes:\n", f"routes:\n{route}", 1)
    before = pod.state()["version"]
    pod.policies["control-plane"].put(**{GATEWAY: changed})
    _until(lambda: bool(pod.state()["errors"]))
    (error,) = pod.state()["errors"]
    assert error["message"].startswith(f"127.0.0.1:{pod.figures} does not have this policy yet: ")
    assert pod.state()["version"] == before
    assert pod.call("/api/marketing/stories") == (404, "not_found")
    pod.policies["gateway"].put(**{GATEWAY: changed})
    _until(lambda: pod.call("/api/marketing/stories") == (401, "token_missing"))
    assert pod.state()["version"] != before

    assert pod.says("drain")
    assert (pod.says("ready"), pod.says("alive")) == (False, True)
    pod.envoy.terminate()
    assert pod.envoy.wait(30) == 0
