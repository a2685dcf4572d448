"""One federation for all tests of limits: the figures of the matrix, counted by the day."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.limits import Counters, by_day
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Tokens


@pytest.fixture(scope="package")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The overlay's file, which tests may write anew."""
    path = tmp_path_factory.mktemp("by-day") / "by-day.yaml"
    path.write_text(by_day(), encoding="utf-8")
    return path


@pytest.fixture(scope="package")
def stack(overlay: Path) -> Iterator[Stack]:
    """All six gateways, with Valkey."""
    arguments = ("--profile", "dev", "--profile", str(overlay))
    with running_stack(overlay.parent / "state", *arguments) as running:
        running.run("endpoints", "set", "marketing", "nobody", "127.0.0.1:9")
        yield running


@pytest.fixture(scope="package")
def tokens(stack: Stack) -> Tokens:
    return Tokens(stack.state_dir)


@pytest.fixture(scope="package")
def counters(stack: Stack) -> Counters:
    return Counters.of(stack)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.ready) as one:
        yield one


@pytest.fixture(autouse=True)
def _within_one_day() -> None:
    """Wait out the last minute of a UTC day, so that no test counts over midnight."""
    now = datetime.now(UTC)
    left = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC) - now
    if left < timedelta(minutes=1):
        time.sleep(left.total_seconds() + 1)
