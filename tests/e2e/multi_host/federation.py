"""The federation over hosts: what docs/operate/multi-host.md says to start, started where it says."""

import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx2
import yaml
from typer.testing import CliRunner

from apibank.cli import app
from apibank.envoy_process import find_envoy
from apibank.issuer.keys import KeyStore
from apibank.valkey_process import find_valkey
from deploy.make_secrets import make_secrets
from tests.support.hosts import Hosts
from tests.support.stack import ROOT
from tests.support.tokens import Tokens
from waooaw_signing import sign

DOMAINS = {"platform": 8000, "marketing": 8001, "education": 8002, "sales": 8003, "agents": 8004}
GATEWAYS = ("central", *DOMAINS)
# Education has two hosts, each with an Envoy and services of its own.
HOSTS_OF = {name: (name,) for name in GATEWAYS} | {"education": ("education", "education-b")}
_NUMBERS = {
    "central": 1,
    "platform": 10,
    "marketing": 11,
    "education": 12,
    "sales": 13,
    "agents": 14,
    "education-b": 22,
}
# `edge` is the Internet (RFC 5737); the rest is the house's own.
_NETS = {"inside": "10.84.1", "mesh": "10.84.2", "control": "10.84.3", "data": "10.84.4", "services": "10.84.5"}
PLAN: Mapping[str, Mapping[str, str]] = {
    "client": {"edge": "198.51.100.9"},
    "agent": {"inside": "10.84.1.9"},
    "control": {"control": "10.84.3.2"},
    "store": {"data": "10.84.4.3"},
    "service": {"services": "10.84.5.20"},
    **{
        name: {net: f"{_NETS[net]}.{number}" for net in ("mesh", "control", "data", "services")}
        for name, number in _NUMBERS.items()
    },
}
CENTRAL = {"edge": "198.51.100.1", "inside": "10.84.1.1", **PLAN["central"]}
START_SECONDS = 90.0


def overlay(folder: Path) -> Mapping[str, object]:
    """What of the policies is this place's own: addresses, files, and how limits go on without their counters."""
    ca_file = str(folder / "secrets" / "control-plane" / "mesh-ca.pem")
    gateways: dict[str, Any] = {}
    for name in GATEWAYS:
        written = yaml.safe_load((ROOT / "envoy" / "gateways" / f"{name}.yaml").read_text("utf-8"))
        sockets = folder / name / "run"
        gateways[name] = {
            "certificates": {
                one: {part: str(folder / "secrets" / "control-plane" / Path(file).name) for part, file in files.items()}
                for one, files in written.get("certificates", {}).items()
            },
            "authorities": {one: {"ca_file": ca_file} for one in written.get("authorities", {})},
            "services": {part: {"endpoint": f"unix:{sockets}/{part}.sock"} for part in ("authz", "ratelimit")},
            "upstreams": {one: {"endpoints": ["10.84.5.20:8080"]} for one in written["upstreams"]},
        }
        gateways[name]["services"]["telemetry"] = {"endpoint": f"{PLAN['control']['control']}:18003"}
        if "issuers" in written:
            # Fetched from another host they would need TLS (AB106), which is not what is tried here.
            gateways[name]["issuers"] = {
                one: {"jwks": {"url": None, **_keys(folder, one)}} for one in written["issuers"]
            }
        if "agents" in written:
            gateways[name]["agents"] = {"secrets_directory": str(folder / "secrets" / "agents")}
        if name in DOMAINS:
            places = [PLAN[host]["mesh"] for host in HOSTS_OF[name]]
            # An address for all Envoys of a gateway: with several hosts it can be none of one host's own.
            listen = places[0] if len(places) == 1 else "0.0.0.0"
            gateways[name]["listeners"] = {"mesh": {"address": f"{listen}:{DOMAINS[name]}"}}
            upstream: dict[str, Any] = {"endpoints": [f"{place}:{DOMAINS[name]}" for place in places]}
            if len(places) > 1:
                upstream["health_check"] = {
                    "protocol": "tcp",
                    "interval_ms": 1000,
                    "timeout_ms": 500,
                    "unhealthy_after": 2,
                }
            gateways["central"]["upstreams"][f"{name}-gateway"] = upstream
    gateways["central"]["listeners"] = {
        "https": {"address": f"{CENTRAL['edge']}:443"},
        "http": {"address": f"{CENTRAL['edge']}:80"},
        "internal_https": {"address": f"{CENTRAL['inside']}:8444"},
    }
    for one in ("requests", "day"):
        gateways["marketing"].setdefault("limits", {})[one] = {"on_store_failure": "local"}
    return {"profile": "hosts", "description": "The addresses of the tests' hosts.", "gateways": gateways}


def _keys(folder: Path, issuer: str) -> Mapping[str, object]:
    keys: Mapping[str, object] = KeyStore(folder / "issuer", issuer).ensure().jwks(time.time())
    return keys


class Federation:
    """Its hosts, its processes by name, and the ways to ask it things."""

    def __init__(self, folder: Path, hosts: Hosts) -> None:
        self.folder, self.hosts = folder, hosts
        self.secrets = folder / "secrets"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.tokens = Tokens(folder / "issuer")
        self._context = ssl.create_default_context(cafile=self.secrets / "ca.pem")
        self.control_token = (self.secrets / "control-token").read_text("utf-8")

    def start(self, name: str, host: str, *command: str) -> None:
        """Run a process on a host; its output is in a file of its name."""
        environment = {
            **os.environ,
            "APIBANK_STATE_DIR": str(self.folder / host / "state"),
            "APIBANK_DATABASE": f"sqlite:///{self.folder / 'apibank.db'}",
            "APIBANK_AUDIT_KEY_FILE": str(self.secrets / "audit-key"),
            "APIBANK_CONTROL_TOKEN_FILE": str(self.secrets / "control-token"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with (self.folder / f"{name}.log").open("ab") as log, self.hosts.on(host):
            self.processes[name] = subprocess.Popen(
                (*self._own_sockets(host), *command),
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _own_sockets(self, host: str) -> tuple[str, ...]:
        """What to begin a command with, so that a gateway's second host has a folder of sockets of its own."""
        (gateway,) = (name for name in HOSTS_OF if host in HOSTS_OF[name]) if host in _NUMBERS else (host,)
        if gateway == host:
            return ()
        mounted = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        here, there = str(self.folder / host / "run"), str(self.folder / gateway / "run")
        return ("unshare", "--mount", "sh", "-c", mounted, "sh", here, there)

    def serve(self, name: str, host: str, *arguments: str) -> None:
        """Run a service of ours on a host, with that host's own copy of the policies."""
        policies = ("--policies", str(self.policies(host)), "--profile", str(self.folder / "hosts.yaml"))
        self.start(name, host, sys.executable, "-m", "apibank", "serve", *arguments, *policies)

    def policies(self, host: str) -> Path:
        return self.folder / host / "gateways"

    def envoy(self, gateway: str, *, host: str = "", node: str = "", admin_port: int = 9901) -> None:
        """Run an Envoy on a host of its gateway from what `apibank bootstrap` writes there."""
        host = host or gateway
        node, own = node or f"{host}-1", self.secrets / f"envoy-{gateway}"
        tls = (
            "--certificate",
            str(own / "node.pem"),
            "--key",
            str(own / "node.key"),
            "--authority",
            str(own / "ca.pem"),
        )
        control = f"{PLAN['control']['control']}:18000"
        folder = self.folder / host / node
        # In this process: seven more interpreters would take longer to start than all else together.
        written = CliRunner().invoke(
            app, ["bootstrap", gateway, "--control-plane", control, *tls, "--into", str(folder), "--node", node,
                  "--admin-port", str(admin_port), "--metrics-listen", f"{PLAN[host]['control']}:{admin_port + 1}"],
        )  # fmt: skip
        assert written.exit_code == 0, written.output
        envoy = (str(find_envoy()), "-c", str(folder / "bootstrap.yaml"), "--disable-hot-restart", "--concurrency", "1")
        self.start(f"envoy-{node}", host, *envoy, "--log-level", "warning")

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def call(
        self, host: str, method: str, path: str, *, to: str = f"https://{CENTRAL['edge']}", **options: Any
    ) -> httpx2.Response:
        """One request over a connection of its own; central's certificate is checked by its name."""
        extensions = {"sni_hostname": "api.waooaw.ai"} if to.startswith("https:") else {}
        with self.hosts.on(host), httpx2.Client(verify=self._context, timeout=20, trust_env=False) as client:
            return client.request(method, to + path, extensions=extensions, **options)

    def signed(self, path: str, agent: str, body: bytes) -> dict[str, str]:
        secret = (self.secrets / "agents" / agent).read_bytes().split()[0]
        return sign("POST", f"https://{CENTRAL['inside']}:8444{path}", body, agent, secret)

    def states(self) -> dict[str, dict[str, Any]]:
        """What the control plane says of each gateway, asked on its own host."""
        answer = self.call(
            "control", "GET", "/v1/status?resources=false", to="http://127.0.0.1:18001",
            headers={"authorization": f"Bearer {self.control_token}"},
        )  # fmt: skip
        return {one["gateway"]: one for one in answer.json()["gateways"]}

    def stat(self, host: str, name: str, admin_port: int = 9901) -> int:
        """A figure of an Envoy, asked at its admin."""
        text = self.call(host, "GET", f"/stats?filter=^{name}$", to=f"http://127.0.0.1:{admin_port}").text
        return int(text.partition(": ")[2] or 0)

    def connects(self, host: str, address: str, port: int) -> bool:
        """Whether a TCP connection comes about within a second, which on one machine's bridges is an age."""
        with self.hosts.on(host):
            try:
                socket.create_connection((address, port), 1).close()
            except OSError:
                return False
        return True

    def is_taken(self, host: str, address: str, port: int, *, shows: str | None) -> bool:
        """Whether a listener begins to speak HTTP/2 with who shows the certificate of this gateway, or none."""
        context = ssl.create_default_context(cafile=self.secrets / "ca.pem")
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        if shows is not None:
            own = self.secrets / f"envoy-{shows}"
            context.load_cert_chain(own / "node.pem", own / "node.key")
        with self.hosts.on(host), socket.create_connection((address, port), 5) as plain:
            try:
                # By TLS 1.3 the client is done before it hears that its certificate is refused.
                secure = context.wrap_socket(plain)
                secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                return bool(secure.recv(1))
            except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
                return False

    def until(self, holds: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.HTTPError):
                if holds():
                    return
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
            time.sleep(0.05)
        raise AssertionError(
            f"{what} did not come about within {seconds} s; control plane:\n{self.log('control-plane')}"
        )

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", errors="replace")[-3000:]

    def is_live(self) -> bool:
        states = self.states()
        return all(states.get(name, {"live": 0})["live"] == len(HOSTS_OF[name]) for name in GATEWAYS)


class _Service(BaseHTTPRequestHandler):
    """What the gateways have behind them: it tells who called."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"path": self.path, "from": self.client_address[0]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def _service(hosts: Hosts) -> Iterator[None]:
    with hosts.on("service"):
        server = ThreadingHTTPServer((PLAN["service"]["services"], 8080), _Service)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Federation]:
    """All of it, until every Envoy runs what is published for it; stopped and taken down at the end."""
    make_secrets(folder / "secrets", datetime.now(UTC))
    (folder / "hosts.yaml").write_text(yaml.safe_dump(overlay(folder)), encoding="utf-8")
    for host in ("control", *_NUMBERS):
        shutil.copytree(ROOT / "envoy" / "gateways", folder / host / "gateways")
        (folder / host / "run").mkdir(mode=0o700)
    plan = {**PLAN, "central": CENTRAL}
    with Hosts(plan) as hosts, _service(hosts):
        federation = Federation(folder, hosts)
        try:
            _start(federation)
            yield federation
        finally:
            for name in list(federation.processes):
                federation.stop(name)


def _start(federation: Federation) -> None:
    store = PLAN["store"]["data"]
    federation.start("valkey", "store", str(find_valkey()), "--bind", store, "--port", "6379", "--save", "",
                     "--protected-mode", "no", "--dir", str(federation.folder))  # fmt: skip
    tls = federation.secrets / "control-plane"
    pairs = [(name, host) for name in GATEWAYS for host in HOSTS_OF[name]]
    places = (f"--gateway-host={name}={PLAN[host]['control']}:18002" for name, host in pairs)
    federation.serve(
        "control-plane", "control", "control-plane", "--listen", f"{PLAN['control']['control']}:18000",
        "--control-listen", "127.0.0.1:18001", "--tls-certificate", str(tls / "control-plane.pem"),
        "--tls-key", str(tls / "control-plane.key"), "--tls-authority", str(tls / "mesh-ca.pem"), *places,
    )  # fmt: skip
    federation.start(
        "telemetry", "control", sys.executable, "-m", "apibank", "serve", "telemetry", "--exposed",
        "--listen", f"{PLAN['control']['control']}:18003", "--metrics-listen", "127.0.0.1:18004",
    )  # fmt: skip
    for name, host in pairs:
        metrics = f"{PLAN[host]['control']}:18002"
        federation.serve(f"gateway-{host}", host, "gateway", name, "--metrics-listen", metrics,
                         "--store", f"redis://{store}:6379/0")  # fmt: skip
    for name, host in pairs:
        federation.envoy(name, host=host)
    federation.until(federation.is_live, "a federation whose Envoys all run their policies")
