"""The gRPC server: who may reach it, what it bears, and how it stops."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import grpc
from prometheus_client import CollectorRegistry

import xds.client_status.server
import xds.load_reports.server
from xds import access
from xds.admission import ServerLimits
from xds.load_reports.reports import LoadReports
from xds.metrics import XdsMetrics
from xds.protocol.stream import PATIENCE_SECONDS, Stream
from xds.publisher import Publisher
from xds.services import Discovery, Identity

# An Envoy's first request holds a node of 60 kB and the versions of all resources it has.
MAX_REQUEST_BYTES: Final = 32 * 1024 * 1024
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
    # A proxy that went away without a word is noticed within 40 seconds; one that pings us itself is welcome to.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # Who connects has to say hello in time, and does not stay without a stream.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
)
# Beside the streams of a proxy a connection carries health checks and the like.
_OTHER_STREAMS: Final = 64
# Beside those of proxies there are connections of operators and probes, and those that are about to close.
_OTHER_CONNECTIONS: Final = 256
# A connection is told to go before its streams are ended, so that these are opened anew on another one. Together
# with gRPC's own tenth of jitter that is earlier than the earliest end of a stream (`admission.AGE_JITTER`).
_GO_AWAY: Final = 0.8


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers. `port` is 0 for a Unix socket."""

    port: int
    _server: grpc.aio.Server
    _discovery: Discovery
    _load_reports: LoadReports | None

    async def stop(self, grace: float = 2.0) -> None:
        """Say so to those who check its health, take no more streams, let what is being written finish and end the
        open streams cleanly; cut off what has not ended after `grace` seconds."""
        await self._discovery.health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace))
        self._discovery.close()
        if self._load_reports is not None:
            self._load_reports.close()
        await stopping


async def serve(
    publisher: Publisher,
    listen: str,
    *,
    identifier: str,
    credentials: grpc.ServerCredentials | None = None,
    trust_domain: str = "",
    metrics: XdsMetrics | None = None,
    patience: float = PATIENCE_SECONDS,
    linger: float = 0.0,
    limits: ServerLimits | None = None,
    load_reports: LoadReports | None = None,
) -> RunningServer:
    """Serve xDS on `listen` (`HOST:PORT`, port 0 for any, or `unix:/path`) until stopped.

    `identifier` names this replica in every response. With `credentials`, which must demand client certificates, the
    certificate decides which node may speak (`access.denial`); without, only a Unix socket or a loopback address is
    served. `patience` and `linger` are those of `Stream`, in seconds. What proxies count of their requests goes to
    `load_reports`; what they run is answered to operators (`client_status.server.register`). ValueError where neither
    is so, RuntimeError when the address is taken.
    """
    if credentials is None and not access.is_private(listen):
        raise ValueError(f"xDS on {listen} needs TLS: only a Unix socket or a loopback address goes without")
    if (credentials is None) != (trust_domain == ""):
        raise ValueError("TLS credentials and a trust domain go together")
    metrics = metrics or XdsMetrics(CollectorRegistry())
    limits = limits or ServerLimits()
    publisher.observe(metrics.published)
    identity = Identity(identifier=identifier, trust_domain=trust_domain)
    discovery = Discovery(publisher, metrics, identity, limits, partial(Stream, patience=patience, linger=linger))
    # What admission does not count, reports of load and checks of health among it, has a bound as well.
    calls = 2 * limits.max_connections + _OTHER_CONNECTIONS
    server = grpc.aio.server(options=_options(limits), maximum_concurrent_rpcs=calls)
    others = [xds.client_status.server.register(server, publisher, trust_domain, limits, metrics)]
    if load_reports is not None:
        others.append(xds.load_reports.server.register(server, load_reports, identity.denial, limits, metrics))
    await discovery.register(server, tuple(others))
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    await server.start()
    return RunningServer(0 if listen.startswith("unix:") else port, server, discovery, load_reports)


def _options(limits: ServerLimits) -> tuple[tuple[str, int], ...]:
    options = (
        *_OPTIONS,
        ("grpc.max_concurrent_streams", limits.max_streams_per_node + _OTHER_STREAMS),
        ("grpc.max_allowed_incoming_connections", limits.max_connections + _OTHER_CONNECTIONS),
    )
    if limits.max_connection_age_seconds is None:
        return options
    return (*options, ("grpc.max_connection_age_ms", int(limits.max_connection_age_seconds * _GO_AWAY * 1000)))
