"""Limits through real Envoys while their store is away, where they say `on_store_failure: local`; and their service."""

import os
import shutil
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.test_limits import within_one_day
from tests.support.client import Client, problem
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Fresh, Tokens

__all__ = ["within_one_day"]

PATH = "/api/marketing/content"
LIMITS = {"central": ("subject", "fleet", "address"), "marketing": ("requests", "day")}
LOCAL = """\
profile: local-limits
description: Every limit goes on in the processes while the store is away.
gateways:
""" + "".join(
    f"  {gateway}: {{limits: {{{', '.join(f'{name}: {{on_store_failure: local}}' for name in names)}}}}}\n"
    for gateway, names in LIMITS.items()
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    place = tmp_path_factory.mktemp("limit-faults")
    shutil.copytree(ROOT / "envoy" / "gateways", place / "gateways")
    overlay = place / "local-limits.yaml"
    overlay.write_text(LOCAL, encoding="utf-8")
    arguments = ("--policies", str(place / "gateways"), "--gateways", "central,marketing")
    with running_stack(place / "state", *arguments, "--profile", "dev", "--profile", str(overlay)) as running:
        yield running


@pytest.fixture(scope="module")
def tokens(stack: Stack) -> Tokens:
    return Tokens(stack.state_dir)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    with Client(stack.ready) as one:
        yield one


def statuses(client: Client, token: str, times: int) -> list[int]:
    return [client.call("GET", PATH, token=token).status_code for _ in range(times)]


def served(client: Client, token: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while client.call("GET", PATH, token=token).status_code not in {200, 429}:
        assert time.monotonic() < deadline, "it is not served again"
        time.sleep(0.1)


@pytest.mark.attack("A65")
@pytest.mark.requirement("R42")
@pytest.mark.usefixtures("within_one_day")
def test_while_the_store_hangs_the_day_goes_on_from_where_it_was(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="free")
    assert statuses(client, token, 4) == [200] * 4
    store = stack.ready.pids["valkey"]
    os.kill(store, signal.SIGSTOP)
    try:
        meanwhile = statuses(client, token, 8)
        refused = problem(client.call("GET", PATH, token=token))
    finally:
        os.kill(store, signal.SIGCONT)
    # Six were left, and one process counts.
    assert meanwhile == [200] * 6 + [429] * 2
    assert (refused["code"], refused["detail"]) == ("daily_limit_reached", "Daily limit reached (upgrade to Business)")
    time.sleep(1)
    # The store knows of four, and of what was on its way when it stopped; what was admitted meanwhile it never hears.
    after = statuses(client, token, 8)
    assert 4 <= after.count(200) <= 6
    assert after[-1] == 429


@pytest.mark.attack("A65")
@pytest.mark.usefixtures("within_one_day")
def test_a_store_that_is_killed_costs_nobody_a_request_and_nobody_gets_the_day_twice(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token, other = (tokens.of("marketing", fresh, tier="free") for _ in range(2))
    assert statuses(client, token, 10) == [200] * 10
    # Its file is flushed once a second.
    time.sleep(1.2)
    os.kill(stack.ready.pids["valkey"], signal.SIGKILL)
    assert set(statuses(client, other, 3)) == {200}
    assert set(statuses(client, token, 3)) == {429}
    time.sleep(4)
    assert set(statuses(client, token, 3)) == {429}


@pytest.mark.attack("A65", "A67")
@pytest.mark.usefixtures("within_one_day")
def test_while_the_service_itself_is_gone_nobody_passes_and_then_the_day_is_as_it_was(
    stack: Stack, client: Client, tokens: Tokens, fresh: Fresh
) -> None:
    token, other = (tokens.of("marketing", fresh, tier="free") for _ in range(2))
    assert statuses(client, token, 10) == [200] * 10
    os.kill(stack.ready.pids["gateway-marketing"], signal.SIGKILL)
    assert client.call("GET", PATH, token=token).status_code == 503
    served(client, other)
    assert set(statuses(client, token, 3)) == {429}
