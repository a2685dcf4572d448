"""The control plane's process: xDS for Envoys, and the control API for people and scripts."""

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import grpc
import structlog

import xds.server
from apibank.consent_desk import ConsentDesk
from apibank.explain_desk import ExplainDesk
from apibank.key_desk import KeyDesk
from apibank.key_reminders import KeyReminders
from apibank.linter import complaints_of
from apibank.migrating import migrate_later, migrated
from apibank.observed import listener_of, observe, observed_app, process_registry
from apibank.plain_resources import follow_resources
from apibank.plane import Plane
from apibank.policies import PolicyFolder
from apibank.policy_gate import PolicyGate
from apibank.ports import holder_of, is_free
from apibank.revocation_desk import RevocationDesk
from apibank.usage.desk import LimitDesk
from apibank.web import serve_web
from portal.change_record import ChangeRecord
from portal.control_api import control_app
from records.api_keys import ApiKeys
from records.audit_log import AuditLog
from records.consents import ConsentRecords
from records.database import Database
from records.fact_versions import FactVersions
from records.revocations import TokenRevocations
from xds.admission import ServerLimits
from xds.load_reports.reports import LoadReports
from xds.metrics import XdsMetrics
from xds.publisher import Publisher

# How long a cluster outlasts the last route to it: longer than authorization, limits and most bodies take together.
LINGER_SECONDS: Final = 10.0

_LOCAL: Final = ("127.0.0.1", "localhost", "0.0.0.0")  # noqa: S104 compared with, not bound
_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class XdsTls:
    """mTLS of the xDS server: PEM files, and the trust domain of the identities that Envoys must prove."""

    certificate: Path
    key: Path
    authority: Path
    trust_domain: str

    def credentials(self) -> grpc.ServerCredentials:
        """Server credentials that demand a client certificate. Raises ValueError where a file cannot be read."""
        key = _read("--tls-key", self.key)
        certificate = _read("--tls-certificate", self.certificate)
        authority = _read("--tls-authority", self.authority)
        return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)


@dataclass(frozen=True, slots=True)
class XdsPlace:
    """Where xDS is served, and how much it bears. Without TLS only loopback addresses and Unix sockets are served."""

    listen: str
    tls: XdsTls | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)


@dataclass(frozen=True, slots=True)
class ControlService:
    """What the control plane is told when it starts.

    `gateway_hosts`: HOST:PORT of the metrics of each gateway's services that run on other hosts.
    """

    folder: PolicyFolder
    xds: XdsPlace
    control_listen: str
    database: str
    token_file: Path
    gateway_hosts: Mapping[str, Sequence[str]] = field(default_factory=dict)


async def run_control_plane(service: ControlService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises OSError, ValueError or RuntimeError where it cannot start."""
    registry = process_registry()
    metrics = XdsMetrics(registry)
    publisher, reports = Publisher(), LoadReports()
    async with Database(service.database) as database:
        is_there = await migrated(service.database)
        gate = PolicyGate(service.gateway_hosts)
        plane = Plane.of(service.folder, publisher, database, reports, metrics, registry, complaints_of, gate)
        keys = KeyDesk(ApiKeys(database), FactVersions(database))
        revoked = RevocationDesk(TokenRevocations(database), FactVersions(database), plane.control.policies)
        application = control_app(
            plane.states,
            keys,
            lambda: service.token_file.read_text(encoding="utf-8").strip(),
            plane.desk,
            plane.hosts,
            revoked,
            ConsentDesk(ConsentRecords(database), FactVersions(database)),
            ExplainDesk(plane.control.states, database),
            LimitDesk(plane.control.states),
            version("apibank"),
            ChangeRecord(AuditLog(database)),
        )
        observe(application, registry, _always)
        await plane.restore()
        server = await _serve_xds(publisher, service.xds, metrics, reports, LINGER_SECONDS)
        try:
            async with asyncio.TaskGroup() as running:
                if not is_there:
                    running.create_task(migrate_later(service.database, stop))
                running.create_task(plane.run(stop))
                running.create_task(KeyReminders(ApiKeys(database), registry).run(stop))
                running.create_task(serve_web([listener_of(application, service.control_listen)], stop))
        finally:
            await plane.close()
            await server.stop()


async def run_plain(resources: Path, place: XdsPlace, metrics_listen: str | None, stop: asyncio.Event) -> None:
    """Serve plain Envoy resources from YAML files, read again when they change, until stopped.

    `metrics_listen`: HOST:PORT of /metrics, /ready and /healthz, if anybody looks at them.
    """
    publisher = Publisher()
    registry = process_registry()
    web = [] if metrics_listen is None else [listener_of(observed_app(registry, _always), metrics_listen)]
    server = await _serve_xds(publisher, place, XdsMetrics(registry), LoadReports())
    try:
        async with asyncio.TaskGroup() as running:
            running.create_task(follow_resources(resources, publisher, stop))
            if web:
                running.create_task(serve_web(web, stop))
    finally:
        await server.stop()


def _read(option: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{option} {path}: {error.strerror}") from error


async def _serve_xds(
    publisher: Publisher,
    place: XdsPlace,
    metrics: XdsMetrics,
    reports: LoadReports,
    linger: float = 0.0,
) -> xds.server.RunningServer:
    host, _, port = place.listen.rpartition(":")
    if not place.listen.startswith("unix:"):
        if not host or not port.isdigit():
            raise ValueError(f"--listen {place.listen!r} is neither HOST:PORT nor unix:/PATH")
        # gRPC's own words for an address that is taken name nobody.
        if host in _LOCAL and int(port) and not is_free(int(port)):
            raise ValueError(f"--listen {place.listen} is taken by {holder_of(int(port))}")
    return await xds.server.serve(
        publisher,
        place.listen,
        identifier=replica_name(),
        linger=linger,
        metrics=metrics,
        limits=place.limits,
        load_reports=reports,
        credentials=None if place.tls is None else place.tls.credentials(),
        trust_domain="" if place.tls is None else place.tls.trust_domain,
    )


def replica_name() -> str:
    """This replica, as Envoy's statistics show it (control_plane.identifier)."""
    return f"apibank/{socket.gethostname()}/{os.getpid()}"


async def _always() -> bool:
    return True
