"""Ctrl-C leaves nothing: no process, no port, no temporary file."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from apibank.ports import is_free, plan_ports
from tests.support.stack import ROOT, free_port_base, running_stack


def _files_of_state(state: Path) -> set[str]:
    return {path.suffix for path in state.rglob("*") if path.suffix in {".sock", ".pid", ".tmp"}}


@pytest.mark.requirement("R72", "R84")
def test_an_interrupted_stack_leaves_no_process_no_port_and_no_temporary_file(tmp_path: Path) -> None:
    base = free_port_base()
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"APIBANK_PORT_BASE": str(base), "TMPDIR": str(temporary)}
    with running_stack(tmp_path / "state", "--gateways", "central,marketing", environment=environment) as stack:
        family = psutil.Process(stack.process.pid).children(recursive=True)
        assert len(family) >= 6
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(30) == 0
    assert [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    assert [port for port in plan_ports(base).named().values() if not is_free(port)] == []
    assert list(temporary.iterdir()) == []
    assert _files_of_state(tmp_path / "state") == set()
    assert not (tmp_path / "state" / "ready.json").exists()


def test_a_stack_whose_parent_is_killed_outright_leaves_no_process(tmp_path: Path) -> None:
    with running_stack(tmp_path / "state", "--gateways", "central,marketing") as stack:
        family = psutil.Process(stack.process.pid).children(recursive=True)
        os.kill(stack.process.pid, signal.SIGKILL)
        stack.process.wait(10)
        gone, alive = psutil.wait_procs(family, timeout=15)
        assert alive == []
        assert len(gone) == len(family)


def test_a_busy_port_is_named_with_its_holder_and_nothing_is_started(tmp_path: Path) -> None:
    base = free_port_base()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import socket, time; held = socket.create_server(('127.0.0.1', {base + 443})); print(1, flush=True);"
            "time.sleep(60)",
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        done = subprocess.run(
            [sys.executable, "-m", "apibank", "up", "--state-dir", str(tmp_path / "state")],
            cwd=ROOT,
            env={**os.environ, "APIBANK_PORT_BASE": str(base), "TMPDIR": tempfile.gettempdir()},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode != 0
        assert f"port {base + 443}" in done.stderr
        assert str(holder.pid) in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        holder.kill()
        holder.wait()
