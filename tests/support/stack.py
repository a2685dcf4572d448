"""A whole federation for tests: `apibank up` in a process of its own, found by its ready file."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apibank.ports import is_free, plan_ports
from apibank.ready import READY_NAME, Ready, StackNotRunningError, read_ready

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Stack:
    """A running federation, and the ways to ask it things."""

    ready: Ready
    state_dir: Path
    process: "subprocess.Popen[bytes]"

    @property
    def ca_file(self) -> str:
        return self.ready.ca_file

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command of the CLI against this stack."""
        return subprocess.run(
            [sys.executable, "-m", "apibank", *arguments],
            cwd=ROOT,
            env={**os.environ, "APIBANK_STATE_DIR": str(self.state_dir)},
            capture_output=True,
            text=True,
            check=check,
            timeout=60,
        )

    def log(self, name: str) -> str:
        """What a process of the stack has printed so far."""
        path = self.state_dir / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def free_port_base() -> int:
    """A base whose whole plan is free, below the range from which the kernel takes ports for outgoing connections."""
    first = os.getpid() % 18
    for turn in range(18):
        base = 12_000 + (first + turn) % 18 * 1000
        if all(is_free(port) for port in (base, *plan_ports(base).named().values())):
            return base
    raise RuntimeError("no free range of ports")


@contextlib.contextmanager
def running_stack(
    state_dir: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    start_seconds: float = START_SECONDS,
    apibank: Sequence[str] = (sys.executable, "-m", "apibank"),
    cwd: Path = ROOT,
) -> Iterator[Stack]:
    """Start `apibank up`, wait until every Envoy has its configuration, and stop it by its pid at the end."""
    state_dir.mkdir(parents=True, exist_ok=True)
    output = (state_dir / "up.log").open("wb")
    process = subprocess.Popen(
        [*apibank, "up", "--state-dir", str(state_dir), *arguments],
        cwd=cwd,
        env={**os.environ, "APIBANK_PORT_BASE": str(free_port_base()), **(environment or {})},
        stdout=output,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield Stack(_await_ready(process, state_dir, start_seconds), state_dir, process)
    finally:
        stop(process)
        output.close()


def _await_ready(process: "subprocess.Popen[bytes]", state_dir: Path, seconds: float) -> Ready:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if (state_dir / READY_NAME).exists():
            with contextlib.suppress(StackNotRunningError, json.JSONDecodeError):
                return read_ready(state_dir)
        time.sleep(0.1)
    stop(process)
    printed = (state_dir / "up.log").read_text(encoding="utf-8", errors="replace")
    raise RuntimeError(f"apibank up did not become ready within {seconds} s; it printed:\n{printed[-8000:]}")


def stop(process: "subprocess.Popen[bytes]") -> int:
    """SIGINT, as Ctrl-C would; the stack stops its own children."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return process.returncode
