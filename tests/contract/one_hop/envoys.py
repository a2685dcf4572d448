"""Two gateways of one policy, a real Envoy in front of each: one asks twice for a request, and one asks once."""

import json
import tempfile
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2

import authz.server
import ratelimit.server
from policy.model import Gateway
from rpc.server import ServerKind
from tests.contract.xds_compiler.federation import free_port
from tests.contract.xds_compiler.services import Service
from tests.contract.xds_compiler.static_envoy import running
from tests.property.one_hop.hops import Process
from tests.unit.authz.world import NOW, policy
from xds.compiler import compile_

# Eight in the morning in Greenwich: the clocks of the two are moved, by minutes.
EIGHT = int(NOW) * 1_000_000
LIMITS: Mapping[str, Any] = {
    "requests": {
        "tiers": {"free": 6, "business": 40, "enterprise": "business"},
        "tenants": {"acme": 3},
        "burst": {"rate": 2, "seconds": 60},
    },
    "day": {
        "unit": "day",
        "tiers": {"free": 4, "business": "unlimited", "enterprise": "unlimited"},
        "code": "daily_limit_reached",
        "refusal": "Daily limit reached",
    },
    "addresses": {"per": "address", "requests": 5, "unit": "hour"},
    "everybody": {"per": "gateway", "requests": 60, "unit": "hour"},
}
ROUTES: Mapping[str, Any] = {
    "content": {"path": "/api/marketing/content", "body": {"POST": "content"}},
    "docs": {"path": "/api/marketing/docs", "access": "public", "limits": ["addresses"]},
    "shadow": {"path": "/api/marketing/shadow", "mode": "shadow"},
    "off": {"path": "/api/marketing/off", "mode": "off", "limits": ["requests"]},
    "down": {"path": "/api/marketing/down", "limits": ["requests"], "upstream": "nobody"},
    "moved": {"path": "/api/marketing/moved", "redirect": {"path": "/api/marketing/content"}, "upstream": None},
    "away": {"path": "/api/marketing/away", "maintenance": {"message": "Back soon"}},
}


class Gate:
    """One of the two: its process, its Envoy and the service behind it."""

    def __init__(self, answered_by: str, folder: Path) -> None:
        self.service = Service()
        self.port, self._admin = free_port(), free_port()
        self.folder = folder / answered_by
        self.folder.mkdir()
        self.process = Process([EIGHT])
        self.gateway = self._policy(answered_by)
        self.process.put(self.gateway)

    def _policy(self, answered_by: str) -> Gateway:
        sockets = {name: f"unix:{self.folder}/{name}.sock" for name in ("authz", "ratelimit")}
        routes = {name: {"upstream": "service", **route} for name, route in ROUTES.items()}
        return policy(
            services={
                "authz": {"endpoint": sockets["authz"], "timeout_ms": 2000},
                "ratelimit": {"endpoint": sockets["ratelimit"], "timeout_ms": 2000, "answered_by": answered_by},
            },
            limits=LIMITS,
            listeners={"mesh": {"address": f"127.0.0.1:{self.port}"}},
            upstreams={"service": {"endpoints": [self.service.endpoint]}, "nobody": {"endpoints": ["127.0.0.1:1"]}},
            defaults={
                "methods": {"GET": "read", "POST": "write"},
                "scopes": "marketing",
                "limits": ["requests", "day", "everybody"],
            },
            routes={name: {key: value for key, value in route.items() if value} for name, route in routes.items()},
        )

    @asynccontextmanager
    async def serving(self, kind: ServerKind) -> AsyncIterator[None]:
        services = self.gateway.services
        checks = await authz.server.serve(self.process.authorizer, services.authz.endpoint, kind)
        limits = await ratelimit.server.serve(self.process.limiter, services.ratelimit.endpoint, kind)
        try:
            yield
        finally:
            await checks.stop(0)
            await limits.stop(0)

    @contextmanager
    def envoy(self) -> Iterator[None]:
        with running(compile_(self.gateway, {}), self.folder / "envoy", self._admin):
            yield

    def asked(self) -> dict[str, int]:
        """How often Envoy has turned to each of the two services."""
        url = f"http://127.0.0.1:{self._admin}/stats?format=json&filter=services.*upstream_rq_total"
        with urllib.request.urlopen(url, timeout=5) as answer:
            stats = json.load(answer)["stats"]
        return {one["name"].split(".")[1].removeprefix("services/"): one["value"] for one in stats}

    async def call(self, http: httpx2.AsyncClient, drawn: Mapping[str, Any]) -> tuple[Any, ...]:
        """What a client hears: the status, the headers that are no moment's and no connection's, and the body."""
        url = f"http://127.0.0.1:{self.port}{drawn['path']}"
        answer = await http.request(drawn["method"], url, headers=drawn["headers"], content=drawn["body"])
        request_id = answer.headers["x-request-id"]

        headers = sorted(
            (name, value.replace(request_id, "ID"))
            for name, value in answer.headers.multi_items()
            if name not in _OF_THE_MOMENT
        )
        text = answer.text.replace(request_id, "ID")
        body = json.loads(text) if text.startswith("{") else text
        if isinstance(body, dict) and "headers" in body:
            body["headers"].pop("host", None)
        return answer.status_code, headers, body


_OF_THE_MOMENT = {"date", "x-request-id", "content-length", "x-envoy-upstream-service-time", "location"}


@contextmanager
def short_folder() -> Iterator[Path]:
    """One whose paths are short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="hop-") as folder:
        yield Path(folder)
