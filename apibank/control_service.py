"""The control plane's process: xDS for Envoys, and the control API for people and scripts."""

import asyncio
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

import xds.server
from apibank.control_plane import ControlPlane
from apibank.key_desk import KeyDesk
from apibank.observed import listener_of, observed_app, process_registry
from apibank.plain_resources import follow_resources
from apibank.policies import PolicyFolder
from apibank.web import serve_web
from portal.control_api import control_app
from records.api_keys import ApiKeys
from records.database import Database
from records.fact_versions import FactVersions
from records.upgrade import upgrade
from xds.metrics import XdsMetrics
from xds.publisher import Publisher

# How long a cluster outlasts the last route to it: longer than authorization, limits and most bodies take together.
LINGER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class XdsTls:
    """mTLS of the xDS server: PEM files, and the trust domain of the identities that Envoys must prove."""

    certificate: Path
    key: Path
    authority: Path
    trust_domain: str

    def credentials(self) -> grpc.ServerCredentials:
        """Server credentials that demand a client certificate. Raises OSError where a file cannot be read."""
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], self.authority.read_bytes(), require_client_auth=True)


@dataclass(frozen=True, slots=True)
class ControlService:
    """What the control plane is told when it starts."""

    folder: PolicyFolder
    listen: str
    control_listen: str
    database: str
    token_file: Path
    tls: XdsTls | None = None


async def run_control_plane(service: ControlService, stop: asyncio.Event) -> None:
    """Serve until stopped. Raises OSError, ValueError or RuntimeError where it cannot start."""
    registry = process_registry()
    publisher = Publisher()
    control = ControlPlane(service.folder, publisher)
    await upgrade(service.database)
    async with Database(service.database) as database:
        keys = KeyDesk(ApiKeys(database), FactVersions(database))
        application = control_app(control, keys, lambda: service.token_file.read_text(encoding="utf-8").strip())
        application.mount("/", observed_app(registry, _always))
        server = await _serve_xds(publisher, service.listen, service.tls, XdsMetrics(registry), LINGER_SECONDS)
        try:
            async with asyncio.TaskGroup() as running:
                running.create_task(control.run(stop))
                running.create_task(serve_web([listener_of(application, service.control_listen)], stop))
        finally:
            await server.stop()


async def run_plain(resources: Path, listen: str, tls: XdsTls | None, stop: asyncio.Event) -> None:
    """Serve plain Envoy resources from YAML files, read again when they change, until stopped."""
    publisher = Publisher()
    server = await _serve_xds(publisher, listen, tls, XdsMetrics(process_registry()))
    try:
        await follow_resources(resources, publisher, stop)
    finally:
        await server.stop()


async def _serve_xds(
    publisher: Publisher, listen: str, tls: XdsTls | None, metrics: XdsMetrics, linger: float = 0.0
) -> xds.server.RunningServer:
    return await xds.server.serve(
        publisher,
        listen,
        identifier=replica_name(),
        linger=linger,
        metrics=metrics,
        credentials=None if tls is None else tls.credentials(),
        trust_domain="" if tls is None else tls.trust_domain,
    )


def replica_name() -> str:
    """This replica, as Envoy's statistics show it (control_plane.identifier)."""
    return f"apibank/{socket.gethostname()}/{os.getpid()}"


async def _always() -> bool:
    return True
