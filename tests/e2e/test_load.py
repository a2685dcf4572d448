"""Load is offered to the running federation by the command that people use, and every request is told of."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.stack import ROOT, Stack

LOCUST = ROOT / ".load"


def offered(stack: Stack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    if not (LOCUST / "locust").is_dir():
        pytest.skip("`make load` and `make test` bring Locust")
    return subprocess.run(
        [sys.executable, "-m", "bench.load", *arguments, "--state-dir", str(stack.state_dir), "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(LOCUST)}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip


@pytest.mark.requirement("R98", "R101")
def test_business_content_is_offered_at_its_rate_and_answered(stack: Stack) -> None:
    ended = offered(stack, "sustained", "spike", "--minutes", "0.1")
    assert ended.stdout, ended.stderr[-2000:]
    sustained, spike = json.loads(ended.stdout)
    # Not how fast, which is this machine's: that nothing fails, and that nothing is left out.
    for one, rate in ((sustained, 1_000), (spike, 5_000)):
        assert one["failed"] == 0, one
        assert one["limited"] == 0, one
        assert one["good"] == round(one["offered"] * 0.1)
        assert one["answered"] == one["offered"]
        assert abs(one["offered"] - rate) < 0.5 * rate
        assert 0 < one["p50"] <= one["p95"] <= one["p99"] <= one["longest"]


@pytest.mark.requirement("R101")
def test_users_post_content_by_locusts_own_command(stack: Stack) -> None:
    if not (LOCUST / "locust").is_dir():
        pytest.skip("`make load` and `make test` bring Locust")
    ended = subprocess.run(
        [
            sys.executable, "-m", "locust", "-f", str(ROOT / "bench" / "load" / "locustfile.py"), "--headless",
            "--users", "4", "--spawn-rate", "4", "--run-time", "4s", "--json", "--skip-log",
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": f"{LOCUST}:{ROOT}", "APIBANK_STATE_DIR": str(stack.state_dir)},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    (row,) = json.loads(ended.stdout)
    assert (row["name"], row["method"], row["num_failures"]) == ("marketing", "POST", 0)
    assert row["num_requests"] >= 4


def test_what_cannot_be_offered_is_said(stack: Stack) -> None:
    ended = offered(stack, "sustaned")
    assert ended.returncode == 2
    assert "no scenario is called sustaned; there are: sustained, spike, agents, mixed, stress" in ended.stderr
    assert offered(stack, "--minutes", "0").returncode == 2
