"""What a request through both gateways takes of each process: CPU, and the memory that the process has then.

    python -m bench.sizing

CPU time depends less on what else the machine does than rates do: it is what docs/operate/sizing.md counts with.
"""

import asyncio
import os
import shutil
import ssl
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from bench.stack import CONNECTIONS, SECONDS, WIDE, load
from tests.support.client import CONTENT
from tests.support.stack import Stack, running_stack
from tests.support.tokens import Tokens

WARM_UP, ROUNDS, IDLE_SECONDS = 1, 4, 15.0
MIB = 1024 * 1024
# As shipped; the profile dev traces all.
TRACED = """\
profile: traced
gateways:
  central: {services: {telemetry: {tracing: {sample_percent: 1}}}}
  marketing: {services: {telemetry: {tracing: {sample_percent: 1}}}}
"""


def cpu_of(pids: Mapping[str, int]) -> dict[str, float]:
    """Seconds of CPU that each process has used so far."""
    times = {name: psutil.Process(pid).cpu_times() for name, pid in pids.items()}
    return {name: one.user + one.system for name, one in times.items()}


async def measure(stack: Stack) -> None:
    """One caller, one route, all checks and limits of both gateways."""
    token = Tokens(stack.state_dir).mint(
        "customer", {"sub": "bench", "role": "customer", "tier": "business", "scopes": ["marketing:*"]}
    )
    context = ssl.create_default_context(cafile=stack.ca_file)

    async def round_() -> int:
        took = await load(
            lambda http: http.post(
                stack.ready.central.https + "/api/marketing/content",
                json=CONTENT,
                headers={"authorization": f"Bearer {token}"},
            ),
            context,
        )
        return len(took)

    for _ in range(WARM_UP):
        await round_()
    # What a process does without any request is told apart.
    rest = cpu_of(stack.ready.pids)
    await asyncio.sleep(IDLE_SECONDS)
    idle = {name: (after - rest[name]) / IDLE_SECONDS for name, after in cpu_of(stack.ready.pids).items()}
    started = time.monotonic()
    before = cpu_of(stack.ready.pids)
    requests = sum([await round_() for _ in range(ROUNDS)])
    took = time.monotonic() - started
    used = {name: after - before[name] - idle[name] * took for name, after in cpu_of(stack.ready.pids).items()}
    print(f"{requests} requests in {ROUNDS * SECONDS:.0f} s over {CONNECTIONS} connections; CPU and memory by process:")
    for name, seconds in sorted(used.items(), key=lambda one: -one[1]):
        memory = psutil.Process(stack.ready.pids[name]).memory_full_info()
        print(
            f"{name:>24}: {max(seconds, 0.0) / requests * 1e6:5.0f} us a request, idle {idle[name]:.3f} of a core, "
            f"{memory.rss / MIB:4.0f} MiB, of which its own {memory.uss / MIB:4.0f}"
        )


def main() -> None:
    """Start a stack, measure, stop it."""
    folder = Path(tempfile.mkdtemp(prefix="apibank-bench-"))
    try:
        profiles = ["--profile", "dev"]
        for name, text in (("bench", WIDE), ("traced", TRACED)):
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
            profiles += ["--profile", str(folder / f"{name}.yaml")]
        print(f"set-up: {os.cpu_count()} cores, Envoys with one worker each, Valkey, native gRPC server, SQLite")
        with running_stack(folder / "state", *profiles) as stack:
            asyncio.run(measure(stack))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
