"""What compose.yaml would run in containers, run as processes: the same commands, with other addresses and files."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from apibank.envoy_process import find_envoy
from tests.support.compose import PROJECT, services

BOOTSTRAP = PROJECT / "deploy" / "envoy" / "bootstrap.yaml"
HEALTHCHECK = PROJECT / "deploy" / "healthcheck.py"
# As deploy/envoy/bootstrap.yaml has them.
ADMIN, METRICS, XDS = "9901", "9902", "18000"


@dataclass(frozen=True)
class ContainerEnvoy:
    """An Envoy that runs with the command line and the bootstrap of a container."""

    service: str
    admin: str
    metrics: str

    def healthy(self) -> bool:
        """What the container's health check says, asked on this Envoy's admin port."""
        test = services()[self.service]["healthcheck"]["test"]
        command = [word.replace(f"/{ADMIN}", f"/{self.admin}") for word in test[1:]]
        return subprocess.run(command, check=False, capture_output=True, timeout=30).returncode == 0


def get(port: str, path: str, method: str = "GET") -> int:
    """The status of a plain HTTP request to loopback. Raises OSError where nobody answers."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def free_ports(count: int) -> list[str]:
    """Ports of loopback that nobody listens on at this moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    """Return when the condition holds; fail the test if the process ends or the time is over before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended"
        with contextlib.suppress(OSError):
            if condition():
                return
        time.sleep(0.02)
    pytest.fail(f"{process.args!r} did not get ready")


def envoy_command(service: str, bootstrap: Path) -> list[str]:
    """The container's command line, with our binary and our copy of the bootstrap."""
    command = [str(word) for word in services()[service]["command"]]
    assert command[0] == "envoy"
    moved = (str(bootstrap) if word == "/etc/envoy/bootstrap.yaml" else word for word in command[1:])
    return [str(find_envoy(None)), *moved]


def moved_bootstrap(folder: Path, certificates: Path, replaced: Mapping[str, str]) -> Path:
    """A copy of the bootstrap with these certificates, and with texts such as ports replaced."""
    text = BOOTSTRAP.read_text().replace("/etc/envoy/tls", str(certificates))
    for old, new in replaced.items():
        text = text.replace(old, new)
    copy = folder / "bootstrap.yaml"
    copy.write_text(text)
    return copy


@contextlib.contextmanager
def running_envoy(
    service: str, bootstrap: Path, ports: Mapping[str, str], ready: str = "/ready"
) -> Iterator[ContainerEnvoy]:
    """An Envoy from the moment when its admin answers the path `ready` with 200."""
    command = envoy_command(service, bootstrap)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: get(ports[ADMIN], ready) == 200, process)
            yield ContainerEnvoy(service, ports[ADMIN], ports[METRICS])
        finally:
            process.kill()


def healthcheck(*addresses: str) -> "subprocess.CompletedProcess[str]":
    """Run the image's health check."""
    command = [sys.executable, str(HEALTHCHECK), *addresses]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
