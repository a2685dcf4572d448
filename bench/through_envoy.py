"""What the checks cost a request through Envoy: `python -m bench.through_envoy`.

The same Envoy, with one worker, in front of the same service four times: without any filter; with every filter and one
process of Python that answers two calls for each request (a remembered token, its scope, its tier's two limits); with
that process answering one call (docs/adr/0027); and asking for nothing but who calls. The service is another Envoy that
answers at once. Load is by h2load (Debian: nghttp2-client), over HTTP/2 without TLS; all of it shares the cores.
With `--each` also with the filters of the two calls added one by one.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvloop
import yaml
from prometheus_client import CollectorRegistry

import authz.server
import ratelimit.server
from apibank.one_hop import OneHop
from authz.audit import JsonLinesSink
from authz.authorizer import Authorizer
from authz.facts import Facts, FactsBoard
from authz.metrics import AuthzMetrics
from authz.nonces import MemoryNonceStore
from authz.rules import compile_rules
from bench.authz_loads import NOW, key_set, token
from bench.processes import FORK
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import Source
from ratelimit.limiter import RateLimiter
from ratelimit.memory_store import MemoryStore
from ratelimit.metrics import RateLimitMetrics
from tests.contract.xds_compiler.federation import free_port
from tests.contract.xds_compiler.static_envoy import running_on, static_bootstrap
from xds.compiler import compile_

_PATH: Final = "/api/marketing/content"
_FILTERS: Final = "type.googleapis.com/envoy.extensions.filters"
_ISSUER: Final = "https://auth.waooaw.ai"
_RATE: Final = re.compile(r"finished in [^,]+, ([0-9.]+) req/s")
_GOOD: Final = re.compile(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")


def policy(ports: Mapping[str, int], *, answered_by: str, limits: bool) -> Loaded[Gateway]:
    written: dict[str, Any] = {
        "gateway": "bench",
        "description": "One route.",
        "owners": ["bench"],
        "issuers": {
            "customer": {
                "issuer": _ISSUER,
                "audience": "https://api.waooaw.ai",
                "jwks": {"url": "https://auth.waooaw.ai/keys"},
            }
        },
        "callers": {"tokens": {"customer": ["customer"]}},
        "tiers": ["business"],
        "services": {
            "authz": {"endpoint": f"127.0.0.1:{ports['authz']}", "timeout_ms": 2000},
            "ratelimit": {
                "endpoint": f"127.0.0.1:{ports['ratelimit']}",
                "timeout_ms": 2000,
                "answered_by": answered_by,
            },
        },
        "upstreams": {"service": {"endpoints": [f"127.0.0.1:{ports['service']}"], "protocol": "http2"}},
        "listeners": {"door": {"address": f"127.0.0.1:{ports['door']}"}},
        "limits": {
            "requests": {"tiers": {"business": 1_000_000_000}, "burst": {}},
            "day": {"unit": "day", "tiers": {"business": 1_000_000_000}},
        },
        "defaults": {
            "methods": {"GET": "read"},
            "scopes": "marketing",
            "limits": ["requests", "day"] if limits else [],
        },
        "routes": {"content": {"path": _PATH, "upstream": "service"}},
    }
    return load_gateway(Gateway, Source("bench.yaml", yaml.safe_dump(written)))


async def run_services(loaded: Loaded[Gateway], ports: Mapping[str, int]) -> None:
    rules = compile_rules(loaded.gateway)
    limiter = RateLimiter(MemoryStore(), RateLimitMetrics(CollectorRegistry()), strict=True)
    limiter.replace_rules(loaded.gateway)
    audit = JsonLinesSink(lambda _: None)
    recording = asyncio.create_task(audit.run())
    authorizer = Authorizer(
        "bench",
        board=FactsBoard(Facts(key_sets={rules.issuers[_ISSUER].keys: key_set()})),
        nonces=MemoryNonceStore(),
        audit=audit,
        metrics=AuthzMetrics(CollectorRegistry(), "bench"),
        limits=OneHop("bench", limiter),
        clock=lambda: NOW,
    )
    authorizer.install(rules)
    await authz.server.serve(authorizer, f"127.0.0.1:{ports['authz']}")
    await ratelimit.server.serve(limiter, f"127.0.0.1:{ports['ratelimit']}")
    await recording


@contextmanager
def services(loaded: Loaded[Gateway], ports: Mapping[str, int]) -> Iterator[None]:
    process = FORK.Process(target=lambda: uvloop.run(run_services(loaded, ports)), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(5)


@contextmanager
def service(port: int, folder: Path) -> Iterator[None]:
    """An Envoy that answers 200 to everything."""
    admin = free_port()
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "service",
        "http_filters": [_router()],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [
                        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "{}"}}}
                    ],
                }
            ]
        },
    }
    door = {
        "name": "service",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    bootstrap = {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {"listeners": [door]},
    }
    with running_on(json.dumps(bootstrap), folder, admin):
        yield


def _router() -> dict[str, Any]:
    return {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"}}


def without_filters(bootstrap: dict[str, Any]) -> dict[str, Any]:
    """The same listener, route and cluster, and nothing that looks at a request."""
    for listener in bootstrap["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for one in chain["filters"]:
                manager = one["typed_config"]
                manager["http_filters"] = [_router()]
                manager.pop("early_header_mutation_extensions", None)
                for host in manager["route_config"]["virtual_hosts"]:
                    for place in (host, *host["routes"]):
                        place.pop("typed_per_filter_config", None)
                        place.pop("rate_limits", None)
                        place.get("route", {}).pop("rate_limits", None)
    return bootstrap


def filters_of(bootstrap: Mapping[str, Any]) -> list[str]:
    """The names of the filters that a request passes, in their order; the last one is the router."""
    (listener,) = bootstrap["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return [one["name"] for one in manager["http_filters"]]


def with_the_first(bootstrap: dict[str, Any], count: int) -> dict[str, Any]:
    """The same, with so many of its filters, and the router."""
    for listener in bootstrap["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for one in chain["filters"]:
                manager = one["typed_config"]
                manager["http_filters"] = [*manager["http_filters"][:count], manager["http_filters"][-1]]
    return bootstrap


def load(port: int, seconds: int, clients: int, streams: int) -> float:
    """Requests a second. SystemExit where one was refused."""
    command = [
        "h2load", "-D", str(seconds), "--warm-up-time", "1", "-c", str(clients), "-m", str(streams), "-t", "1",
        "-H", f"authorization: Bearer {token(1)}", f"http://127.0.0.1:{port}{_PATH}",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, statuses = _RATE.search(said), _GOOD.search(said)
    if rate is None or statuses is None or any(int(number) for number in statuses.groups()[1:]):
        raise SystemExit(said)
    return float(rate[1])


def measure(name: str, seconds: int, clients: int, streams: int, filters: int | None = None) -> float:
    """Requests a second. `filters`: with the first so many of them, where it is given."""
    ports = {each: free_port() for each in ("authz", "ratelimit", "service", "door")}
    loaded = policy(ports, answered_by="authz" if name == "one call" else "ratelimit", limits=name != "no limits")
    admin = free_port()
    bootstrap = static_bootstrap(compile_(loaded, {}), admin_port=admin)
    if name == "no filters":
        bootstrap = without_filters(bootstrap)
    if filters is not None:
        bootstrap = with_the_first(bootstrap, filters)
    folder = Path(tempfile.mkdtemp(prefix="apibank-bench-"))
    try:
        with (
            services(loaded, ports),
            service(ports["service"], folder / "service"),
            running_on(json.dumps(bootstrap), folder / "door", admin),
        ):
            return load(ports["door"], seconds, clients, streams)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Print requests a second, and what they are of those without filters."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--each", action="store_true", help="every filter of the two calls, one after the other")
    given = parser.parse_args()
    if shutil.which("h2load") is None:
        raise SystemExit("h2load is not installed (Debian: nghttp2-client)")
    print(f"set-up: {os.cpu_count()} cores, Envoy with one worker, native gRPC server, counters in memory,")
    print(f"        {given.clients} connections with {given.streams} requests each under way, {given.seconds} s each")
    bare = 0.0
    for name in ("no filters", "two calls", "one call", "no limits"):
        rate = measure(name, given.seconds, given.clients, given.streams)
        bare = bare or rate
        print(f"{name:>12}: {rate:8.0f} requests/s, {rate / bare:.2f} of no filters", flush=True)
    if given.each:
        ports = dict.fromkeys(("authz", "ratelimit", "service", "door"), 1)
        loaded = policy(ports, answered_by="ratelimit", limits=True)
        names = filters_of(static_bootstrap(compile_(loaded, {}), admin_port=1))
        for count, name in enumerate(names[:-1], 1):
            rate = measure("two calls", given.seconds, given.clients, given.streams, filters=count)
            print(f"{'+ ' + name:>44}: {rate:8.0f} requests/s, {rate / bare:.2f} of no filters", flush=True)


if __name__ == "__main__":
    main()
