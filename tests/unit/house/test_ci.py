"""`.ci/run` hands on what `make test` says: its exit code, and the runner's closing lines last."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[3]


def _run(folder: Path, make: str) -> subprocess.CompletedProcess[str]:
    """Run a copy of the script in `folder` with a `make` that does what the shell text says."""
    (folder / ".ci").mkdir()
    script = Path(shutil.copy(PROJECT / ".ci" / "run", folder / ".ci" / "run"))
    stand_in = folder / "make"
    stand_in.write_text(f"#!/bin/sh\n{make}\n")
    stand_in.chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([script], env=environment, capture_output=True, text=True, check=False, timeout=30)


def test_the_closing_lines_of_both_runs_come_last(tmp_path: Path) -> None:
    run = _run(
        tmp_path, 'test "$1" = test || exit 9; echo "12 passed, 1 skipped in 3.21s"; echo x; echo "4 passed in 9s"'
    )
    assert run.returncode == 0
    assert run.stdout.splitlines()[-2:] == ["12 passed, 1 skipped in 3.21s", "4 passed in 9s"]


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_failure_is_not_swallowed(tmp_path: Path, code: int) -> None:
    run = _run(tmp_path, f'echo "1 failed, 2 passed in 0.10s"; echo "make: Error 1" >&2; exit {code}')
    assert run.returncode == code
    assert run.stdout.splitlines()[-1] == "1 failed, 2 passed in 0.10s"


def test_a_run_that_never_reaches_its_end_says_so(tmp_path: Path) -> None:
    run = _run(tmp_path, "exit 2")
    assert run.returncode == 2
    assert run.stdout.splitlines()[-1] == "the test runner did not get to its end"


def test_it_waits_for_no_input(tmp_path: Path) -> None:
    run = _run(tmp_path, 'read -r line && exit 5; echo "1 passed in 1s"')
    assert run.returncode == 0


BROWSER = PROJECT / "tests" / "browser" / "conftest.py"


def test_the_makefile_runs_every_test() -> None:
    recipe = (PROJECT / "Makefile").read_text().split("\ntest:")[1].split("\n\n")[0]
    assert '-m "not e2e" tests' in recipe
    # Those of a browser are e2e as well, so that the three leave out none.
    assert '-m "e2e and not browser" tests' in recipe
    assert "-m browser tests" in recipe
    assert {"e2e", "browser"} == set(re.findall(r"add_marker\(pytest\.mark\.(\w+)\)", BROWSER.read_text()))
