"""What the embedded stack consists of: the processes, in the order in which they start, and where they will be."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2

from apibank.certificates import DevelopmentCertificates
from apibank.child_process import Child, Probe
from apibank.envoy_process import EnvoyProcess, envoy_child, find_envoy
from apibank.issuer.realms import JWKS_PATH
from apibank.ports import CENTRAL, LOOPBACK, PortPlan
from apibank.probes import answers_http
from apibank.ready import CentralPlace, GatewayPlace, Ready
from apibank.settings import Settings, environment_of_children
from apibank.valkey_process import ValkeyProcess, valkey_child
from policy.model import Gateway

_POLL_SECONDS = 0.05
PLATFORM = "platform"
AGENTS = "agents"
MEMORY = "memory"
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


class NotLiveError(Exception):
    """The processes run, but some Envoy did not take its configuration; the text says which, and why."""


@dataclass(frozen=True, slots=True)
class StackPlan:
    """One stack, decided and not yet started. `gateways` are the effective policies, addresses included."""

    settings: Settings
    policies: Path
    profiles: tuple[str, ...]
    ports: PortPlan
    certificates: DevelopmentCertificates
    gateways: Mapping[str, Gateway]

    @property
    def store_url(self) -> str:
        """The store as the services take it: memory, or a URL."""
        return self._valkey().url if self.settings.store == "valkey" else self.settings.store

    @property
    def bus(self) -> str:
        """Where messages to agents wait, as the services take it."""
        return self.settings.bus or self.store_url

    def stages(self) -> Sequence[Sequence[Child]]:
        """The processes by stage: one stage serves before the next begins."""
        store = [valkey_child(self._valkey(), self.settings.state_dir)] if self.settings.store == "valkey" else []
        services = [
            self._control_plane(),
            *self._telemetry(),
            *(self._gateway(name) for name in self.gateways),
            self._issuer(),
            self._portal(),
            *self._agents(),
            *self._upstreams(),
        ]
        envoys = [
            envoy_child(self._envoy(name, number, port), self.settings.state_dir)
            for name in self.gateways
            for number, port in enumerate(self._admin_ports(name), start=1)
        ]
        return [stage for stage in (store, services, envoys) if stage]

    async def until_live(self, within: float) -> None:
        """Wait until each gateway's Envoy runs what is published for it. Raises NotLiveError with what is wrong."""
        deadline = time.monotonic() + within
        async with httpx2.AsyncClient() as http:
            while True:
                wrong = await self._not_live(http)
                if not wrong:
                    return
                if time.monotonic() >= deadline:
                    raise NotLiveError("; ".join(wrong))
                await asyncio.sleep(_POLL_SECONDS)

    async def _not_live(self, http: httpx2.AsyncClient) -> list[str]:
        secret = self.settings.token_file().read_text(encoding="utf-8").strip()
        answer = await http.get(
            f"{self._control_api}/v1/status?resources=false", headers={"authorization": f"Bearer {secret}"}
        )
        states = {one["gateway"]: one for one in answer.json()["gateways"]}
        wrong = []
        for name in self.gateways:
            state = states.get(name)
            if state is None or not len(self._admin_ports(name)) <= state["envoys"] == state["live"]:
                wrong.append(f"{name} is not live: {state and state['errors']}")
        return wrong

    def ready(self, pids: Mapping[str, int]) -> Ready:
        """Where everything is."""
        plan, domains = self.ports, [name for name in self.gateways if name != CENTRAL]
        https = f"https://{LOOPBACK}:{plan.https}"
        return Ready(
            state_dir=str(self.settings.state_dir),
            ca_file=str(self.certificates.ca_file),
            central=CentralPlace(
                https=https,
                http=f"http://{LOOPBACK}:{plan.http}",
                internal_https=f"https://{LOOPBACK}:{plan.internal_https}",
                envoy_admin=self._admins(CENTRAL)[0],
                envoy_admins=self._admins(CENTRAL),
                authz=f"{LOOPBACK}:{plan.gateways[CENTRAL].authz}",
                ratelimit=f"{LOOPBACK}:{plan.gateways[CENTRAL].ratelimit}",
                metrics=self._metrics(CENTRAL),
            ),
            gateways={
                name: GatewayPlace(
                    https=f"https://{LOOPBACK}:{plan.gateways[name].mesh}",
                    envoy_admin=self._admins(name)[0],
                    envoy_admins=self._admins(name),
                    authz=f"{LOOPBACK}:{plan.gateways[name].authz}",
                    ratelimit=f"{LOOPBACK}:{plan.gateways[name].ratelimit}",
                    metrics=self._metrics(name),
                )
                for name in domains
            },
            xds=f"{LOOPBACK}:{plan.xds}",
            control_api=self._control_api,
            portal=f"{https}/portal",
            metrics=[
                f"{self._control_api}/metrics",
                *(self._metrics(name) for name in self.gateways),
                self._portal_metrics,
                *([self._telemetry_metrics] if self._is_told else []),
                *([self._agents_metrics] if self._runs_agents else []),
            ],
            upstreams={name: f"http://{LOOPBACK}:{plan.gateways[name].upstream}" for name in domains},
            store=self.store_url,
            bus=self.bus,
            database=self.settings.database_url(),
            issuers={
                "customer": f"http://{LOOPBACK}:{plan.issuer_customer}",
                "admin": f"http://{LOOPBACK}:{plan.issuer_admin}",
            },
            profiles=list(self.profiles),
            policies=str(self.policies),
            pids=dict(pids),
        )

    @property
    def _control_api(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.control_api}"

    def _admin_ports(self, name: str) -> tuple[int, ...]:
        ports = self.ports.gateways[name]
        return (ports.envoy_admin, *ports.more_envoy_admins)

    def _admins(self, name: str) -> list[str]:
        return [f"http://{LOOPBACK}:{port}" for port in self._admin_ports(name)]

    @property
    def _portal_metrics(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.portal}/metrics"

    @property
    def _telemetry_metrics(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.telemetry_metrics}/metrics"

    @property
    def _is_told(self) -> bool:
        """Whether some gateway's Envoys tell of requests."""
        return any(one.services.telemetry is not None for one in self.gateways.values())

    @property
    def _agents_metrics(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.agents}/metrics"

    @property
    def _runs_agents(self) -> bool:
        """Whether the demo agents have a process of their own."""
        return self.bus != MEMORY and bool({AGENTS, PLATFORM} & self.gateways.keys())

    def _metrics(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self.ports.gateways[name].metrics}/metrics"

    def _valkey(self) -> ValkeyProcess:
        return ValkeyProcess(port=self.ports.valkey)

    def _serve(self, *arguments: str) -> tuple[str, ...]:
        settings = self.settings
        shared = ("--state-dir", str(settings.state_dir), "--log-level", settings.log_level)
        return (sys.executable, "-m", "apibank", "serve", *arguments, *shared)

    def _python(self, name: str, command: tuple[str, ...], ready: Probe) -> Child:
        # Eight processes that each compile every module anew would take a minute to start.
        environment = {key: value for key, value in environment_of_children().items() if key != _NO_BYTECODE}
        return Child(name, command, ready, environment=environment)

    def _named_database(self) -> tuple[str, ...]:
        """Unless one is named, usage has a database of its own in the state directory, beside that of all else."""
        return () if self.settings.database is None else ("--database", self.settings.database)

    def _policy_options(self) -> tuple[str, ...]:
        profiles = (option for profile in self.profiles for option in ("--profile", profile))
        return ("--policies", str(self.policies), *profiles)

    def _control_plane(self) -> Child:
        listen = f"{LOOPBACK}:{self.ports.xds}"
        command = self._serve(
            "control-plane",
            "--listen",
            listen,
            "--control-listen",
            f"{LOOPBACK}:{self.ports.control_api}",
            "--database",
            self.settings.database_url(),
            *self._only(),
            *self._policy_options(),
        )
        return self._python("control-plane", command, _http_probe(f"{LOOPBACK}:{self.ports.control_api}", "/healthz"))

    def _gateway(self, name: str) -> Child:
        ports = self.ports.gateways[name]
        command = self._serve(
            "gateway",
            name,
            "--metrics-listen",
            f"{LOOPBACK}:{ports.metrics}",
            "--store",
            self.store_url,
            "--database",
            self.settings.database_url(),
            "--grpc-server",
            self.settings.grpc_server,
            *self._policy_options(),
        )
        return self._python(f"gateway-{name}", command, _http_probe(f"{LOOPBACK}:{ports.metrics}", "/ready"))

    def _telemetry(self) -> Sequence[Child]:
        """What Envoys tell of requests, where any of them is to."""
        if not self._is_told:
            return ()
        metrics = f"{LOOPBACK}:{self.ports.telemetry_metrics}"
        listen = ("--listen", f"{LOOPBACK}:{self.ports.telemetry}", "--metrics-listen", metrics)
        return (
            self._python(
                "telemetry", self._serve("telemetry", *listen, *self._named_database()), _http_probe(metrics, "/ready")
            ),
        )

    def _issuer(self) -> Child:
        command = self._serve(
            "issuer",
            "--customer-port",
            str(self.ports.issuer_customer),
            "--admin-port",
            str(self.ports.issuer_admin),
            *self._origins(),
        )
        return self._python("issuer", command, _http_probe(f"{LOOPBACK}:{self.ports.issuer_customer}", JWKS_PATH))

    def _portal(self) -> Child:
        listen = f"{LOOPBACK}:{self.ports.portal}"
        command = self._serve(
            "portal",
            "--listen",
            listen,
            "--issuer",
            f"http://{LOOPBACK}:{self.ports.issuer_customer}/.well-known/openid-configuration",
            "--admin-issuer",
            f"http://{LOOPBACK}:{self.ports.issuer_admin}/.well-known/openid-configuration",
            "--control-api",
            self._control_api,
            *self._origins(),
            # Whoever tries webhooks on this machine receives them here.
            "--webhook-network",
            "127.0.0.0/8",
            *self._named_database(),
            *self._policy_options(),
        )
        return self._python("portal", command, _http_probe(listen, "/ready"))

    def _origins(self) -> tuple[str, ...]:
        """Where browsers reach the central gateway."""
        return tuple(
            option for host in (LOOPBACK, "localhost") for option in ("--origin", f"https://{host}:{self.ports.https}")
        )

    def _agents(self) -> Sequence[Child]:
        """The platform, what takes messages for agents, and the agents; on a bus in memory they are one process."""
        options = ("--bus", self.bus, *self._only(), *self._policy_options())
        children, listen = [], f"{LOOPBACK}:{self.ports.agents}"
        engine = f"{LOOPBACK}:{self.ports.gateways[AGENTS].upstream}" if AGENTS in self.gateways else None
        if PLATFORM in self.gateways:
            children.append(self._platform(engine, options))
        if engine is not None and not (self.bus == MEMORY and children):
            command = self._serve("orchestration", "--listen", engine, *options)
            children.append(self._python("orchestration", command, _http_probe(engine, "/ready")))
        if self._runs_agents:
            command = self._serve("agents", "--metrics-listen", listen, *options)
            children.append(self._python("agents", command, _http_probe(listen, "/ready")))
        return children

    def _platform(self, engine: str | None, options: Sequence[str]) -> Child:
        listen = f"{LOOPBACK}:{self.ports.gateways[PLATFORM].upstream}"
        within = ("--orchestration-listen", engine) if engine is not None and self.bus == MEMORY else ()
        command = self._serve(
            "platform", "--listen", listen, "--store", self.store_url, *within, *self._named_database(), *options
        )
        return self._python("platform", command, _http_probe(listen, "/ready"))

    def _only(self) -> tuple[str, ...]:
        return tuple(option for name in self.gateways for option in ("--gateway", name))

    def _upstreams(self) -> Sequence[Child]:
        others = (name for name in self.gateways if name not in {CENTRAL, AGENTS, PLATFORM})
        ports = {name: self.ports.gateways[name].upstream for name in others}
        first = next(iter(ports.values()), None)
        if first is None:
            return ()
        command = self._serve(
            "upstreams",
            *(option for name, port in ports.items() for option in ("--service", f"{name}={port}")),
            # Only where an agent takes it: else its queue would fill.
            *(("--bus", self.bus) if AGENTS in self.gateways and self._runs_agents else ()),
        )
        return (self._python("upstreams", command, _http_probe(f"{LOOPBACK}:{first}", "/healthz")),)

    def _envoy(self, name: str, number: int, admin_port: int) -> EnvoyProcess:
        """One of a gateway's Envoys: the first bears the gateway's name alone."""
        return EnvoyProcess(
            name=f"envoy-{name}" if number == 1 else f"envoy-{name}-{number}",
            node_id=f"{name}-{number}",
            node_cluster=name,
            admin_port=admin_port,
            control_plane=(f"{LOOPBACK}:{self.ports.xds}",),
            listeners=len(self.gateways[name].listeners),
            binary=find_envoy(self.settings.envoy_binary),
            concurrency=self.settings.envoy_concurrency,
        )


def _http_probe(target: str, path: str) -> Probe:
    return partial(answers_http, target, path)
