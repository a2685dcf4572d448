"""What `policy.routing` says of a path is what a real Envoy does with it, for policies and paths that are drawn."""

import http.client
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from policy.load import load_gateway
from policy.model import Gateway
from policy.problem import Source
from policy.routing import Match, NoRoute, forwarded, matched
from tests.contract.xds_compiler.federation import free_port
from tests.contract.xds_compiler.services import Authz, RateLimit, Service, allowed, serve
from tests.contract.xds_compiler.static_envoy import running
from xds.compiler import compile_

LISTENERS = 12
ROUTES_EACH = 7
PATHS_EACH = 60
WORDS = ("a", "b", "ab", "a.b", "a-b", "~a")
ODD = (
    *("", ".", "..", "%2e", "%2E%2e", ".%2e", "%61", "%41", "%7e", "a%2Fb", "%2f", "a%5cb", "%00"),
    *("a\\b", "..\\b", "%zz", "%", "a;b", "%252e%252e", "%20", "a+b", "a%3Fb", "{a}", "a%23", "...", "%2e.."),
    *("..;", "..;x=1", ".;", "..;a;b", "%2e%2e;", "..\\;", "...;", "..;%2f", ".;%00", "..;%2e", "b;.."),
    *("^", "|", "`", "'", '"', "<", ">", "[", "]", "@", "!", "$", "&", "(", ")", "*", ",", "=", ":"),
)
ENDS = ("", "", "", "", "/", "//", "?", "?x=/../b", "?a%2fb", "/?", "#f", "?a#f", "/.", "/..")
REWRITES: tuple[dict[str, str], ...] = (
    {"prefix": "/new"},
    {"prefix": "/"},
    {"path": "/one"},
    {"regex": r"^/([a-z]+)/([a-z0-9]+)/(.*)$", "substitution": r"/v2/\2/\1/\3"},
)


@dataclass
class Drawn:
    """A gateway whose every listener has routes of its own, and the Envoy that serves them."""

    gateway: Gateway
    ports: dict[str, int]
    authz: Authz

    def asked(self, listener: str, path: str) -> tuple[int, str, str]:
        """Status, the route that was taken (empty: none), and the path that the service saw."""
        self.authz.asked.clear()
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[listener], timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        route = self.authz.asked[-1].attributes.context_extensions["route"] if self.authz.asked else ""
        return answer.status, route, json.loads(body)["path"] if answer.status == 200 else ""


def policy(draw: random.Random, ports: dict[str, int], services: str, service: str) -> dict[str, Any]:
    routes: dict[str, Any] = {}
    for listener in ports:
        taken = set()
        for number in range(ROUTES_EACH):
            path = "/" + "/".join(draw.choices(WORDS, k=draw.choice((0, 1, 1, 2, 2, 3))))
            match = draw.choice(("exact", "prefix", "prefix"))
            if (path, match) in taken:
                continue
            taken.add((path, match))
            routes[f"{listener}-{number}"] = {
                "path": path,
                "match": match,
                "listeners": [listener],
                "upstream": "service",
                **({"rewrite": dict(draw.choice(REWRITES))} if draw.random() < 0.4 else {}),
                **({"methods": {"GET": "read", "POST": "write"}} if draw.random() < 0.2 else {}),
                **({"streaming": {}, "upgrades": ["websocket"]} if draw.random() < 0.2 else {}),
                **({"retries": {"retry_on": ["5xx"], "methods": ["GET"]}} if draw.random() < 0.2 else {}),
            }
    return {
        "gateway": "drawn",
        "description": "Routes that nobody would write.",
        "owners": ["tests@waooaw.ai"],
        "callers": {"partners": True},
        "tiers": ["free"],
        "services": {
            "authz": {"endpoint": services, "timeout_ms": 5000},
            "ratelimit": {"endpoint": services, "timeout_ms": 5000},
        },
        "listeners": {name: {"address": f"127.0.0.1:{port}"} for name, port in ports.items()},
        "upstreams": {"service": {"endpoints": [service]}},
        "defaults": {"methods": {"GET": "read"}},
        "routes": routes,
    }


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    authz, ratelimit, service = Authz(), RateLimit(), Service()
    authz.decide = lambda request: allowed(tier="free", caller="tenant:acme")
    server, port = serve(authz, ratelimit)
    ports = {f"door{number}": free_port() for number in range(LISTENERS)}
    written = yaml.safe_dump(policy(random.Random(68), ports, f"127.0.0.1:{port}", service.endpoint))
    loaded = load_gateway(Gateway, Source("drawn.yaml", written))
    try:
        with running(compile_(loaded, {}), tmp_path_factory.mktemp("drawn"), free_port()):
            yield Drawn(loaded.gateway, ports, authz)
    finally:
        server.stop(0).wait()
        service.stop()


def paths(draw: random.Random) -> Iterator[str]:
    for _ in range(PATHS_EACH):
        words = draw.choices((*WORDS, *WORDS, *ODD), k=draw.randint(0, 4))
        yield "/" + "/".join(words) + draw.choice(ENDS)


def expected(gateway: Gateway, listener: str, path: str) -> tuple[int, str, str]:
    found = matched(gateway, listener, path)
    if isinstance(found, NoRoute):
        return found.status, "", ""
    assert isinstance(found, Match)
    separator, query = path.partition("?")[1:]
    # The service, Python's http.server, shows one of the slashes that a path begins with.
    seen = "/" + forwarded(gateway.routes[found.route], found.path).lstrip("/")
    return 200, found.route, seen + separator + query


@pytest.mark.parametrize("listener", [f"door{number}" for number in range(LISTENERS)])
def test_a_real_envoy_takes_the_route_that_is_foretold(drawn: Drawn, listener: str) -> None:
    draw = random.Random(listener)
    wrong = [
        (path, foretold, found)
        for path in paths(draw)
        if (found := drawn.asked(listener, path)) != (foretold := expected(drawn.gateway, listener, path))
    ]
    assert wrong == []
