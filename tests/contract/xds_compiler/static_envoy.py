"""A real Envoy that runs a compiled snapshot without a control plane: every reference by ADS made a static one."""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apibank.envoy_process import find_envoy
from xds.compiler.static import bootstrap, plain_resources
from xds.snapshot import Snapshot

_START_SECONDS = 30


def static_bootstrap(compiled: Snapshot, *, admin_port: int | None = None) -> dict[str, Any]:
    """The bootstrap of an Envoy that has the snapshot from the start."""
    built: dict[str, Any] = dict(bootstrap(plain_resources(compiled, secrets=True)))
    if admin_port is not None:
        built["admin"] = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}}
    return built


def validate(compiled: Snapshot, folder: Path) -> "subprocess.CompletedProcess[str]":
    """`envoy --mode validate`: exit code 0, or the words with which an Envoy would refuse."""
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(static_bootstrap(compiled)))
    command = [str(find_envoy()), "--mode", "validate", "-c", str(file), "--log-level", "warn"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@contextlib.contextmanager
def running(compiled: Snapshot, folder: Path, admin_port: int) -> Iterator[str]:
    """Run an Envoy on a snapshot until the block ends; the value is the address of its admin interface."""
    with running_on(json.dumps(static_bootstrap(compiled, admin_port=admin_port)), folder, admin_port) as admin:
        yield admin


@contextlib.contextmanager
def running_on(text: str, folder: Path, admin_port: int) -> Iterator[str]:
    """Run an Envoy on a bootstrap in YAML or JSON, which must name that admin port."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bootstrap.yaml"
    file.write_text(text)
    command = [str(find_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]
    admin = f"http://127.0.0.1:{admin_port}"
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _await_ready(admin, process, folder / "envoy.log")
            yield admin
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _await_ready(admin: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Envoy ended with {process.returncode}:\n{log.read_text()[-4000:]}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{admin}/ready", timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"Envoy was not ready within {_START_SECONDS} s:\n{log.read_text()[-4000:]}")
