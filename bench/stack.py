"""The whole federation: how long until it serves, until a saved change is live, and what a request costs.

    python -m bench.stack

Every figure is of this machine and of everything on it: six Envoys, eight Python processes, Valkey, the upstream and
the client share its cores. Compare the ratios.
"""

import asyncio
import os
import shutil
import ssl
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx2

from tests.support.client import CONTENT
from tests.support.stack import ROOT, Stack, running_stack
from tests.support.tokens import Tokens

CHANGES = 20
SECONDS = 5.0
CONNECTIONS = 16
# Nothing may be refused for its number: what is measured is the way, not the limits.
WIDE = """\
profile: bench
gateways:
  central:
    services: {flood_guard: {requests_per_second: 100000, burst: 100000}}
    limits:
      subject: {tiers: {business: 100000000}}
      fleet: {requests: 100000000}
  marketing:
    limits:
      requests: {tiers: {business: 100000000}}
"""


def quantile(values: list[float], share: float) -> float:
    """The value below which that share lies, in the unit of the values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


async def change_to_live(stack: Stack, policies: Path) -> list[float]:
    """Seconds from the saving of a file to the first request that its new route answers, over many changes."""
    tokens = Tokens(stack.state_dir)
    token = tokens.mint(
        "customer", {"sub": "bench", "role": "student", "tier": "enterprise", "scopes": ["education:*"]}
    )
    file = policies / "education.yaml"
    text = file.read_text(encoding="utf-8")
    context = ssl.create_default_context(cafile=stack.ca_file)
    took = []
    secret = (stack.state_dir / "control.token").read_text(encoding="utf-8").strip()
    async with httpx2.AsyncClient(verify=context) as http, httpx2.AsyncClient() as control:

        async def live() -> tuple[str | None, bool]:
            answer = await control.get(
                stack.ready.control_api + "/v1/status", headers={"authorization": f"Bearer {secret}"}
            )
            (one,) = (each for each in answer.json()["gateways"] if each["gateway"] == "education")
            return one["version"], one["live"] == one["envoys"]

        for number in range(CHANGES):
            before, _ = await live()
            name = f"bench{number}"
            saved = time.perf_counter()
            partial = file.with_suffix(".tmp")
            partial.write_text(
                text.replace(
                    "routes:\n",
                    f"routes:\n  {name}:\n    path: /api/education/{name}\n    upstream: education-agents\n",
                ),
                encoding="utf-8",
            )
            partial.replace(file)
            while True:
                version, complete = await live()
                if version != before and complete:
                    break
                await asyncio.sleep(0.002)
            took.append(time.perf_counter() - saved)
            answer = await http.get(
                f"{stack.ready.central.https}/api/education/{name}", headers={"authorization": f"Bearer {token}"}
            )
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.3)
    file.write_text(text, encoding="utf-8")
    return took


async def load(one: Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]], context: ssl.SSLContext) -> list[float]:
    """Seconds per request, of a closed loop over a few connections for a few seconds."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS
    limits = httpx2.Limits(max_connections=CONNECTIONS)
    async with httpx2.AsyncClient(verify=context, limits=limits) as http:

        async def worker() -> None:
            while (start := time.perf_counter()) < end:
                answer = await one(http)
                assert answer.status_code == 200, answer.text
                took.append(time.perf_counter() - start)

        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
    return took


async def requests(stack: Stack) -> None:
    """The same POST straight to the service, and through both gateways."""
    token = Tokens(stack.state_dir).mint(
        "customer", {"sub": "bench", "role": "customer", "tier": "business", "scopes": ["marketing:*"]}
    )
    context = ssl.create_default_context(cafile=stack.ca_file)
    rates = {}
    for name, url in {
        "service alone": stack.ready.upstreams["marketing"],
        "through both": stack.ready.central.https,
    }.items():
        took = await load(
            lambda http, url=url: http.post(  # type: ignore[misc]
                url + "/api/marketing/content", json=CONTENT, headers={"authorization": f"Bearer {token}"}
            ),
            context,
        )
        rates[name] = len(took) / SECONDS
        print(
            f"{name:>16}: {rates[name]:7.0f} requests/s, p50 {statistics.median(took) * 1000:.1f} ms, "
            f"p99 {quantile(took, 0.99) * 1000:.1f} ms ({CONNECTIONS} connections, closed loop, Python client)"
        )
    print(f"           ratio: {rates['through both'] / rates['service alone']:.2f} of the service alone")


def main() -> None:
    """Start a stack, measure, stop it."""
    folder = Path(tempfile.mkdtemp(prefix="apibank-bench-"))
    try:
        policies = folder / "gateways"
        shutil.copytree(ROOT / "envoy" / "gateways", policies)
        (folder / "bench.yaml").write_text(WIDE, encoding="utf-8")
        arguments = ("--policies", str(policies), "--profile", "dev", "--profile", str(folder / "bench.yaml"))
        print(f"set-up: {os.cpu_count()} cores, Envoy 1.40.0 with one worker each, Valkey, native gRPC server")
        started = time.perf_counter()
        with running_stack(folder / "state", *arguments) as stack:
            print(f"from the command to everything serving: {time.perf_counter() - started:.1f} s")
            took = asyncio.run(change_to_live(stack, policies))
            print(
                f"file saved to acknowledged by every Envoy, {CHANGES} changes, 100 ms of it debounce: "
                f"p50 {statistics.median(took) * 1000:.0f} ms, p99 {quantile(took, 0.99) * 1000:.0f} ms"
            )
            asyncio.run(requests(stack))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
