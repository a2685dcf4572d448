"""What a decision of authorization costs: `python -m bench.authz`.

First without the wire, in microseconds of CPU (the least of many short runs), and where those of the warm path go.
Then over gRPC: each server runs in a process of its own under the real policies of marketing and agents, and is asked
with as many calls under way as it can take, with checks of about 1.2 KB. `refused` shows tokens whose signature is
wrong, and since all come from one address, after the first few the answer is the 429 of `failed_credentials`;
`constant` answers without thinking: what gRPC itself costs on that server. Client and server share the machine's
cores, so the server's CPU time per decision says more than decisions per second, and 1 s / CPU is what one core of its
own would do.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, get_args

import grpc
import uvloop
from pygrpc_native import NativeGrpcFront

from authz.audit import JsonLinesSink
from authz.server import SERVICE, serve
from bench.authz_loads import CALLERS, LOADS, authorizer, token
from bench.authz_stages import decisions, memory_of_tokens, stages
from bench.hostile_checks import hostile
from bench.http2_load import Client
from bench.processes import FORK, served
from protos import ext_authz_pb2 as pb
from rpc.server import ServerKind

CONNECTIONS, UNDER_WAY = 2, 32
CONSTANT: Final = pb.CheckResponse(ok_response=pb.OkHttpResponse()).SerializeToString()


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run. Latencies in milliseconds, CPU in microseconds of the server's process per decision."""

    decisions_per_second: int
    server_cpu: float
    p50: float
    p99: float
    p999: float


async def _serve_constant(kind: ServerKind) -> int:
    """The least that a server can do; its port."""
    if kind == "native":
        front = NativeGrpcFront("127.0.0.1:0", [(f"/{SERVICE}/Check", False)], call_details=True)
        front.start()
        threading.Thread(target=_answer, args=(front, asyncio.get_running_loop()), daemon=True).start()
        return front.bound_port

    async def answer(raw: bytes, context: object) -> bytes:
        return CONSTANT

    server = grpc.aio.server()
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)  # type: ignore[attr-defined]
    port: int = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _SERVERS.append(server)
    return port


# Servers end where nobody holds them.
_SERVERS: Final[list[object]] = []


def _answer(front: NativeGrpcFront, loop: asyncio.AbstractEventLoop) -> None:
    def take(calls: Sequence[int]) -> None:
        for call in calls:
            front.respond(call, CONSTANT)

    while (events := front.recv_batch(64)) is not None:
        loop.call_soon_threadsafe(take, [call for _, call, *_ in events])


async def run_server(kind: ServerKind, name: str, pipe: Connection) -> None:
    if name == "constant":
        pipe.send(await _serve_constant(kind))
        await asyncio.Event().wait()
    written = Path("/dev/null").open("wb")  # noqa: SIM115, ASYNC230 open for as long as the process lives
    audit = JsonLinesSink(written.write)
    recording = asyncio.create_task(audit.run())
    running = await serve(authorizer(LOADS[name], audit), "127.0.0.1:0", kind)
    recording.add_done_callback(lambda _: pipe.close())
    pipe.send(running.port)
    await asyncio.Event().wait()


def serve_forever(kind: ServerKind, name: str, pipe: Connection) -> None:
    uvloop.run(run_server(kind, name, pipe))


def client_process(port: int, checks: Sequence[bytes], seconds: float, rate: float | None, pipe: Connection) -> None:
    def client() -> Client:
        # Field 1, the status, is there only where the answer is a refusal.
        return Client(port, f"/{SERVICE}/Check", checks, lambda answer: answer[:1] != b"\x0a")

    client().run(seconds / 4, UNDER_WAY)
    pipe.send("warm")
    pipe.recv()
    measured = client()
    if rate is None:
        measured.run(seconds, UNDER_WAY)
    else:
        measured.run_paced(seconds, rate)
    pipe.send((measured.latencies, measured.good))


def measure(kind: ServerKind, name: str, seconds: float, rate: float | None = None) -> Figures:
    """One run at saturation, or at `rate` decisions per second."""
    checks = LOADS[name].checks()
    with served(serve_forever, kind, name) as (port, process):
        pipes = []
        for _ in range(CONNECTIONS):
            ours, theirs = multiprocessing.Pipe()
            share = None if rate is None else rate / CONNECTIONS
            arguments = (port, checks, seconds, share, theirs)
            FORK.Process(target=client_process, args=arguments, daemon=True).start()
            pipes.append(ours)
        for pipe in pipes:
            pipe.recv()
        before, start = sum(process.cpu_times()[:2]), time.perf_counter()
        for pipe in pipes:
            pipe.send("go")
        results = [pipe.recv() for pipe in pipes]
        elapsed, cpu = time.perf_counter() - start, sum(process.cpu_times()[:2]) - before
    latencies = sorted(latency for run, _ in results for latency in run)
    good = sum(run[1] for run in results)
    if good != (0 if LOADS[name].refused else len(latencies)):
        raise SystemExit(f"{name} on {kind}: {good} of {len(latencies)} checks were allowed")
    return Figures(
        round(len(latencies) / elapsed),
        round(cpu / len(latencies) * 1e6, 1),
        round(latencies[len(latencies) // 2] * 1e3, 2),
        round(latencies[len(latencies) * 99 // 100] * 1e3, 2),
        round(latencies[len(latencies) * 999 // 1000] * 1e3, 2),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each run, in seconds")
    parser.add_argument("--tokens", type=int, default=100_000, help="remembered tokens of the memory figure")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    set_up = f"Python {platform.python_version()}, {os.cpu_count()} cores, at a load of {os.getloadavg()[0]:.1f}"
    runs: dict[str, Figures] = {}
    for kind in get_args(ServerKind):
        for name in LOADS:
            runs[f"{kind}, {name}"] = measure(kind, name, arguments.seconds)
        half = runs[f"{kind}, token, remembered"].decisions_per_second / 2
        runs[f"{kind}, token, remembered, half load"] = measure(kind, "token, remembered", arguments.seconds, half)
    report = {
        "set-up": set_up,
        "decisions (us)": decisions(),
        "stages of a remembered token (us)": stages(),
        "slowest hostile requests (ms)": hostile(),
        f"{arguments.tokens} remembered tokens of {len(token(0))} octets (MB)": memory_of_tokens(arguments.tokens),
        "runs": {name: asdict(figures) for name, figures in runs.items()},
    }
    if arguments.json:
        print(json.dumps(report))
    else:
        show(report, runs)


def show(report: Mapping[str, object], runs: Mapping[str, Figures]) -> None:
    for name, value in report.items():
        if name.startswith("stages") and isinstance(value, Mapping):
            print(f"{name}:")
            for stage, cpu in value.items():
                print(f"  {stage:44}{cpu:>7}")
        elif name != "runs":
            print(f"{name}: {value}")
    print(f"{CONNECTIONS} connections with {UNDER_WAY} checks under way each, {CALLERS} callers")
    print(f"{'':44}{'per s':>9}{'cpu us':>9}{'p50 ms':>9}{'p99 ms':>9}{'p99.9 ms':>10}{'cost':>7}")
    for name, figures in runs.items():
        constant = runs[name.split(",")[0] + ", constant"]
        print(
            f"{name:44}{figures.decisions_per_second:>9}{figures.server_cpu:>9}{figures.p50:>9}{figures.p99:>9}"
            f"{figures.p999:>10}"
            f"{figures.server_cpu / constant.server_cpu:>6.2f}x"
        )


if __name__ == "__main__":
    main()
