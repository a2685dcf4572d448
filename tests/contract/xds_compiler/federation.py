"""Central and marketing as their files say, with the addresses, certificates and services of a test."""

import http.client
import json
import socket
import ssl
import urllib.request
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from apibank.certificates import DevelopmentCertificates
from policy.load import Loaded, load_gateway
from policy.model import Gateway
from policy.problem import Source
from tests.contract.xds_compiler.services import Authz, RateLimit, Service
from xds.compiler import Material, compile_, material_files
from xds.snapshot import Snapshot

GATEWAYS = Path(__file__).parents[3] / "envoy" / "gateways"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def load(name: str, changes: Mapping[str, Any] | None = None) -> Loaded[Gateway]:
    file = GATEWAYS / f"{name}.yaml"
    overlay = Source("test.yaml", yaml.safe_dump({"profile": "test", "gateways": {name: dict(changes or {})}}))
    return load_gateway(Gateway, Source(file.name, file.read_text()), [overlay])


def compiled(policy: Loaded[Gateway]) -> Snapshot:
    return compile_(policy, {name: Material(Path(name).read_bytes()) for name in material_files(policy.gateway)})


@dataclass
class Federation:
    """Two Envoys and what stands around them."""

    https: int
    http: int
    internal: int
    mesh: int
    certificates: DevelopmentCertificates
    admin: Mapping[str, str]
    authz: Authz = field(default_factory=Authz)
    ratelimit: RateLimit = field(default_factory=RateLimit)
    service: Service = field(default_factory=Service)
    _counted: Counter[str] = field(default_factory=Counter)

    def call(
        self,
        method: str,
        path: str,
        *,
        port: int | None = None,
        address: str = "127.0.0.1",
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over TLS on a connection of its own: status, headers, body."""
        context = ssl.create_default_context(cafile=str(self.certificates.ca_file))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", port or self.https, context=context, source_address=(address, 0), timeout=10
        )
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def upstream_requests(self) -> dict[str, int]:
        """How often central has turned to each gateway since the last time this was asked."""
        url = f"{self.admin['central']}/stats?format=json&filter=-gateway\\.upstream_(cx|rq)_total"
        with urllib.request.urlopen(url, timeout=5) as answer:
            stats = json.load(answer)["stats"]
        now: Counter[str] = Counter()
        for one in stats:
            now[one["name"].split(".")[1]] += one["value"]
        new = now - self._counted
        self._counted = now
        return dict(new)


def federation_overlays(ports: Federation, services: int) -> dict[str, dict[str, Any]]:
    """Changes of each gateway's file: addresses, certificates, and a route that waits 200 ms and counts nowhere."""
    certificates = ports.certificates

    def pair(files: Any) -> dict[str, str]:
        return {"chain_file": str(files.chain_file), "key_file": str(files.key_file)}

    ca = str(certificates.ca_file)
    local = f"127.0.0.1:{services}"
    # A second is plenty of time on a busy machine; the tests that need a time-out set their own.
    own = {"authz": {"endpoint": local, "timeout_ms": 2000}, "ratelimit": {"endpoint": local, "timeout_ms": 2000}}
    gateways = ("platform", "marketing", "education", "sales", "agents")
    return {
        "central": {
            "certificates": {"public": pair(certificates.public), "mesh": pair(certificates.mesh["central"])},
            "authorities": {name: {"ca_file": ca} for name in gateways},
            "services": own,
            "listeners": {
                "https": {"address": f"127.0.0.1:{ports.https}"},
                "http": {"address": f"127.0.0.1:{ports.http}", "redirect_to_https_port": ports.https},
                "internal_https": {"address": f"127.0.0.1:{ports.internal}"},
            },
            "upstreams": {
                "auth": {"endpoints": ["127.0.0.1:1"]},
                **{f"{name}-gateway": {"endpoints": ["127.0.0.1:1"]} for name in gateways},
                "marketing-gateway": {"endpoints": [f"127.0.0.1:{ports.mesh}"]},
                "agents-gateway": {"endpoints": [ports.service.endpoint], "protocol": "http1", "tls": None},
            },
        },
        "marketing": {
            "certificates": {"mesh": pair(certificates.mesh["marketing"])},
            "authorities": {"central": {"ca_file": ca}},
            "services": own,
            "listeners": {"mesh": {"address": f"127.0.0.1:{ports.mesh}"}},
            "upstreams": {"marketing-agents": {"endpoints": [ports.service.endpoint]}},
            "routes": {
                "hasty": {
                    "path": "/api/marketing/hasty",
                    "upstream": "marketing-agents",
                    "timeout_ms": 200,
                    "limits": [],
                }
            },
        },
    }
