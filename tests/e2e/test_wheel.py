"""The wheel is enough: installed in an empty environment, away from the project, it runs the whole federation."""

import os
import signal
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from tests.support.client import CONTENT, Client
from tests.support.stack import ROOT, running_stack
from tests.support.wheel import built_wheel, shipped_environment


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return shipped_environment(folder / "environment", built_wheel(ROOT, folder / "dist"))


@pytest.fixture
def environment() -> Mapping[str, str]:
    """That of a shell of somebody who has never seen the project."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def said(*command: str | Path, environment: Mapping[str, str], cwd: Path) -> str:
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_the_command_says_its_version_and_is_the_wheels_own(
    programs: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    asked = {"environment": environment, "cwd": tmp_path}
    assert said(programs / "apibank", "--version", **asked) == version("apibank")  # type: ignore[arg-type]
    place = Path(said(programs / "python", "-c", "import apibank; print(apibank.__file__)", **asked))  # type: ignore[arg-type]
    assert place.is_relative_to(programs.parent)


def test_up_from_the_wheel_answers_the_first_good_request_and_leaves_nothing(
    programs: Path, environment: Mapping[str, str], tmp_path: Path
) -> None:
    command = (str(programs / "apibank"),)
    # Nothing of the project is on any path: what is missing in the wheel is missing here.
    without = dict.fromkeys(("PYTHONPATH", "VIRTUAL_ENV"), "")
    with running_stack(tmp_path / "state", apibank=command, cwd=tmp_path, environment=without) as stack:
        token = said(
            *command, "token", "--role", "customer", "--tier", "business", "--scope", "marketing:*",
            environment={**environment, "APIBANK_STATE_DIR": str(stack.state_dir)}, cwd=tmp_path,
        )  # fmt: skip
        with Client(stack.ready) as client:
            answer = client.call("POST", "/api/marketing/content", token=token, json=CONTENT)
            assert answer.status_code == 200, answer.text
            assert client.call("GET", "/api/docs").status_code == 200
            assert client.call("GET", "/portal").status_code in {200, 302, 303}
        running = {pid: psutil.Process(pid).create_time() for pid in stack.ready.pids.values()}
        stack.process.send_signal(signal.SIGINT)
        assert stack.process.wait(30) == 0
    assert [
        pid for pid in running if psutil.pid_exists(pid) and psutil.Process(pid).create_time() == running[pid]
    ] == []
