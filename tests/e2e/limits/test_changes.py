"""Limits that change while traffic runs: counters are kept, replicas agree, and the edge's own guard follows."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from apibank.ports import is_free
from tests.support.client import Client, problem
from tests.support.limits import Counters, by_day, charge
from tests.support.published import Published
from tests.support.stack import ROOT, Stack, free_port_base
from tests.support.tokens import Fresh, Tokens

PATH = "/api/marketing/content"
TENANT = "tenant-that-grows"
Change = Callable[[str, str, str], Awaitable[None]]
GUARD = "listeners: {https: {trusted_hops: 1}}"


@pytest.fixture
def change(stack: Stack, overlay: Path) -> Change:
    """Make a change of the overlay and wait until a gateway's Envoys run it; the next change begins anew."""
    published = Published(stack)

    async def changed(gateway: str, old: str, new: str) -> None:
        before = (await published.gateway(gateway))["version"]
        overlay.write_text(by_day(old, new), encoding="utf-8")
        await published.another_than(gateway, before)

    return changed


def statuses(client: Client, token: str, count: int) -> list[int]:
    return [client.call("GET", PATH, token=token).status_code for _ in range(count)]


@pytest.mark.requirement("R39", "R69")
async def test_a_figure_that_changes_keeps_what_was_counted(
    change: Change, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh
) -> None:
    token = tokens.of("marketing", fresh, tier="enterprise", tenant_id=TENANT)
    assert statuses(client, token, 4) == [200] * 3 + [429]
    await change("marketing", f"{TENANT}: 3", f"{TENANT}: 5")
    assert counters.remaining("marketing", "requests", tenant=TENANT, tier="enterprise") == 2
    assert statuses(client, token, 3) == [200] * 2 + [429]
    await change("marketing", f"{TENANT}: 3", f"{TENANT}: 4")
    assert statuses(client, token, 1) == [429]
    # Without a figure of its own it has what its tier has, less what it has used.
    await change("marketing", f", {TENANT}: 3", "")
    assert counters.remaining("marketing", "requests", tenant=TENANT, tier="enterprise") == 495
    await change("marketing", "", "")


def flood(stack: Stack, addresses: Iterator[str], count: int) -> list[int]:
    """Statuses of requests that no route serves, each from the next of the addresses."""
    with httpx2.Client(verify=False, timeout=10) as http:
        url = stack.ready.central.https + "/api/nothing"
        return [http.get(url, headers={"x-forwarded-for": next(addresses)}).status_code for _ in range(count)]


def forever(address: str) -> Iterator[str]:
    while True:
        yield address


@pytest.mark.requirement("R11", "R104")
async def test_the_edges_own_guard_is_changed_while_running_and_counts_networks_of_ipv6(
    change: Change, stack: Stack, client: Client
) -> None:
    assert set(flood(stack, forever("203.0.113.1"), 60)) == {404}
    tight = GUARD + "\n    services: {flood_guard: {requests_per_second: 1, burst: 20}}"
    await change("central", GUARD, tight)
    try:
        began = time.monotonic()
        seen = flood(stack, forever("203.0.113.2"), 60)
        assert seen[:20] == [404] * 20
        assert 20 <= seen.count(404) <= 21 + (time.monotonic() - began)
        assert set(seen) == {404, 429}
        # Each address of a /64 is the same client, those of another are others.
        began = time.monotonic()
        seen = flood(stack, (f"2001:db8:0:1::{number:x}" for number in range(1, 100)), 60)
        assert 20 <= seen.count(404) <= 21 + (time.monotonic() - began)
        assert set(flood(stack, (f"2001:db8:0:{number:x}::1" for number in range(2, 100)), 60)) == {404}
        refused = client.call("GET", "/api/nothing", headers={"x-forwarded-for": "2001:db8:0:1::ffff"})
        assert (refused.status_code, problem(refused)["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
    finally:
        await change("central", "", "")
    assert set(flood(stack, forever("203.0.113.2"), 60)) == {404}


@contextlib.contextmanager
def second_process(stack: Stack, folder: Path) -> Iterator[str]:
    """Another process of marketing's services, as another replica has; where its limits are asked."""
    base = free_port_base()
    authz, limits, metrics = (base + distance for distance in (0, 1, 2))
    assert all(map(is_free, (authz, limits, metrics)))
    own = folder / "replica.yaml"
    services = f"{{authz: {{endpoint: '127.0.0.1:{authz}'}}, ratelimit: {{endpoint: '127.0.0.1:{limits}'}}}}"
    own.write_text(f"profile: replica\ngateways: {{marketing: {{services: {services}}}}}\n", encoding="utf-8")
    profiles = [part for profile in (*stack.ready.profiles, str(own)) for part in ("--profile", profile)]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "apibank", "serve", "gateway", "marketing",
            "--metrics-listen", f"127.0.0.1:{metrics}",
            "--store", stack.ready.store, "--database", stack.ready.database,
            "--policies", stack.ready.policies, "--state-dir", str(folder / "state"), *profiles,
        ],
        cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            with contextlib.suppress(httpx2.HTTPError):
                if httpx2.get(f"http://127.0.0.1:{metrics}/ready").status_code == 200:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{limits}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.requirement("R23")
def test_two_replicas_of_a_gateway_count_together(
    stack: Stack, client: Client, counters: Counters, tokens: Tokens, fresh: Fresh, tmp_path: Path
) -> None:
    tenant = fresh("tenant")
    token = tokens.of("marketing", fresh, tier="free", tenant_id=tenant)
    counter = {"limit": "day", "tier": "free", "caller": f"tenant:{tenant}"}
    with second_process(stack, tmp_path) as replica:
        for _ in range(5):
            assert client.call("GET", PATH, token=token).status_code == 200
            assert charge(replica, "marketing", 1, **counter)
        assert client.call("GET", PATH, token=token).status_code == 429
        assert not charge(replica, "marketing", 1, **counter)
    assert counters.remaining("marketing", "day", tenant=tenant, tier="free") == 0
