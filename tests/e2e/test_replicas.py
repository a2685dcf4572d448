"""Two control planes of one configuration: either can go at any moment, and the Envoys notice nothing."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apibank.envoy_process import EnvoyProcess, envoy_command, find_envoy, render_bootstrap
from apibank.ports import is_free
from tests.support.stack import ROOT

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
RESOURCES = """\
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: self
  type: EDS
  eds_cluster_config: {{eds_config: {{ads: {{}}, resource_api_version: V3}}}}
- "@type": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: self
  endpoints:
    - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: routes
  virtual_hosts:
    - name: all
      domains: ["*"]
      routes: [{{match: {{prefix: /}}, route: {{cluster: self, prefix_rewrite: /ready}}}}]
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: door
  address: {{socket_address: {{address: 127.0.0.1, port_value: {door}}}}}
  filter_chains:
    - filters:
        - name: envoy.filters.network.http_connection_manager
          typed_config:
            "@type": {manager}
            stat_prefix: door
            rds: {{route_config_name: routes, config_source: {{ads: {{}}, resource_api_version: V3}}}}
            http_filters:
              - name: envoy.filters.http.router
                typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
"""
CHANGED = (
    "listener_manager.listener_(modified|added|removed)|cluster_manager.cluster_(modified|added|removed)|config_reload$"
)


@dataclass
class Pair:
    """An Envoy and the two control planes that it knows, by the names that it shows in its statistics."""

    admin: str
    door: str
    processes: dict[str, "subprocess.Popen[bytes]"]

    def identifier(self) -> str:
        """Who the Envoy is connected to: `apibank/HOST/PID`."""
        return str(self._stats("control_plane.identifier", "&type=TextReadouts")[0]["value"])

    def number(self, name: str) -> int:
        return sum(one["value"] for one in self._stats(name) if isinstance(one.get("value"), int))

    def _stats(self, name: str, more: str = "") -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.admin}/stats?format=json&filter={name}{more}", timeout=5) as answer:
            stats: list[dict[str, Any]] = json.load(answer)["stats"]
            return stats

    def connected(self) -> "subprocess.Popen[bytes]":
        pid = int(self.identifier().rpartition("/")[2])
        return next(one for one in self.processes.values() if one.pid == pid)


def free_ports(count: int) -> list[int]:
    found = [port for port in range(11_600, 11_800) if is_free(port)]
    return found[:count]


def until(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, IndexError, StopIteration):
            if condition():
                return
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    first, second, admin, door = free_ports(4)
    group = tmp_path / "resources" / "edge"
    group.mkdir(parents=True)
    (group / "all.yaml").write_text(RESOURCES.format(admin=admin, door=door, manager=MANAGER), encoding="utf-8")
    command = [sys.executable, "-m", "apibank", "serve", "control-plane", "--resources", str(group.parent)]
    processes = {
        f"127.0.0.1:{port}": subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}"], cwd=ROOT)
        for port in (first, second)
    }
    envoy = EnvoyProcess("edge-1", "edge-1", "edge", admin, tuple(processes), 1, find_envoy())
    bootstrap = tmp_path / "bootstrap.yaml"
    bootstrap.write_text(render_bootstrap(envoy), encoding="utf-8")
    with (tmp_path / "envoy.log").open("wb") as log:
        running = subprocess.Popen(envoy_command(envoy, bootstrap), stdout=log, stderr=log)
        try:
            one = Pair(f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{door}", processes)
            until(lambda: urllib.request.urlopen(one.door, timeout=1).status == 200)
            yield one
        finally:
            for process in (running, *processes.values()):
                process.terminate()
            for process in (running, *processes.values()):
                process.wait(15)


@contextlib.contextmanager
def asking(url: str) -> Iterator[Counter[str]]:
    """Ask all the time, for as long as the block lasts."""
    answers: Counter[str] = Counter()
    stopping = threading.Event()

    def flow() -> None:
        while not stopping.wait(0.005):
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    answers[str(answer.status)] += 1
            except OSError as error:
                answers[repr(error)] += 1

    thread = threading.Thread(target=flow)
    thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        thread.join()


@pytest.mark.requirement("R4", "U2")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_another_replica_takes_over_and_resends_nothing(pair: Pair, end: signal.Signals) -> None:
    before = pair.identifier()
    changed = pair.number(CHANGED)
    assert changed > 0
    with asking(pair.door) as answers:
        process = pair.connected()
        os.kill(process.pid, end)
        status = process.wait(15)
        until(lambda: pair.identifier() != before and pair.number("control_plane.connected_state") == 1)
        # The other one has answered what the Envoy asked for when it came.
        until(lambda: pair.connected().poll() is None)
        time.sleep(0.5)
    assert status == (0 if end == signal.SIGTERM else -signal.SIGKILL)
    assert set(answers) == {"200"}, answers
    assert pair.number(CHANGED) == changed
    assert pair.number("update_rejected") == 0
