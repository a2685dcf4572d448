"""`apibank serve`: one service, for containers and real deployments."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from apibank.commands.options import (
    Database,
    GrpcServerOption,
    Listen,
    LogLevel,
    MetricsListen,
    Policies,
    Profile,
    StateDir,
    Store,
    named_hosts,
    named_store,
    settings_of,
)
from apibank.commands.policies import open_folder
from apibank.commands.serve_agents import agents, orchestration
from apibank.commands.serve_platform import platform
from apibank.commands.serve_ratelimit import ratelimit
from apibank.output import fail

if TYPE_CHECKING:
    from apibank.policies import PolicyFolder
    from apibank.running import Service
    from apibank.settings import Settings

app = typer.Typer(help="Run one service until SIGTERM.", no_args_is_help=True, rich_markup_mode=None)

Follow = Annotated[
    bool | None,
    typer.Option(
        "--follow/--no-follow",
        help="Whether a saved file is live at once, or only `policy apply` changes anything.  [env: APIBANK_FOLLOW]",
    ),
]
_CONTROL_LISTEN: Final = "127.0.0.1:18001"


@app.command("control-plane")
def control_plane(
    listen: Listen = "127.0.0.1:18000",
    control_listen: Annotated[
        str | None,
        typer.Option(
            "--control-listen",
            help="HOST:PORT of the control API, /metrics and /healthz; with --resources of these two, where it is set.",
            show_default="127.0.0.1:18001",
        ),
    ] = None,
    resources: Annotated[
        Path | None,
        typer.Option("--resources", help="Serve plain Envoy resources, DIR/<node group>/*.yaml, without policies."),
    ] = None,
    gateway: Annotated[list[str] | None, typer.Option("--gateway", help="Only these gateways; several times.")] = None,
    gateway_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=HOST:PORT",
            help="Metrics of a gateway's services on another host, asked if a policy is known there; several times.",
        ),
    ] = None,
    policies: Policies = None,
    profile: Profile = None,
    database: Database = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
    follow: Follow = None,
    max_connections: Annotated[
        int, typer.Option(min=1, help="Streams at most; more are refused with RESOURCE_EXHAUSTED.")
    ] = 4096,
    admissions_per_second: Annotated[
        float, typer.Option(min=1, help="New streams a second; more wait for up to a second, then are refused.")
    ] = 500.0,
    concurrent_pushes: Annotated[int, typer.Option(min=1, help="Streams that are sent a change at one moment.")] = 512,
    max_connection_age: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which an Envoy is made to reconnect; unset: never.")
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM chain of the xDS server; with a key and an authority, mTLS.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of the xDS server.")] = None,
    tls_authority: Annotated[Path | None, typer.Option(help="PEM of who issues the Envoys' certificates.")] = None,
    trust_domain: Annotated[str, typer.Option(help="Of the Envoys' identities: spiffe://DOMAIN/gateway/NAME.")] = (
        "waooaw.ai"
    ),
) -> None:
    """Serve xDS: configuration for every Envoy that connects.

    Example: apibank serve control-plane --resources ./resources --listen 127.0.0.1:18000
    """
    from apibank.control_service import ControlService, XdsPlace, XdsTls, run_control_plane, run_plain
    from xds.admission import ServerLimits

    settings = settings_of(
        policies=policies, profile=profile, database=database, state_dir=state_dir, log_level=log_level, follow=follow
    )
    if resources is not None and (policies or profile or gateway or gateway_host):
        fail("error: --resources serves no policies: it goes with no --policies, --profile, --gateway, --gateway-host")
    given = (tls_certificate, tls_key, tls_authority)
    if any(given) and not all(given):
        fail("error: --tls-certificate, --tls-key and --tls-authority go together")
    tls = None
    if tls_certificate and tls_key and tls_authority:
        tls = XdsTls(tls_certificate, tls_key, tls_authority, trust_domain)
    limits = ServerLimits(
        max_connections=max_connections,
        admissions_per_second=admissions_per_second,
        concurrent_pushes=concurrent_pushes,
        max_connection_age_seconds=max_connection_age,
    )
    place = XdsPlace(listen, tls, limits)
    if resources is not None:
        _run(partial(run_plain, resources, place, control_listen), log_level=settings.log_level)
        return
    service = ControlService(
        folder=_folder_in_force(settings, tuple(gateway) if gateway else None),
        xds=place,
        control_listen=control_listen or _CONTROL_LISTEN,
        database=settings.database_url(),
        token_file=settings.token_file(),
        gateway_hosts=named_hosts(gateway_host or ()),
    )
    _run(partial(run_control_plane, service), log_level=settings.log_level)


def _folder_in_force(settings: "Settings", only: tuple[str, ...] | None) -> "PolicyFolder":
    """The folder of policies, or where saved files are not followed, what was applied of it last."""
    from apibank.policies import PolicyFolder, applied_folder

    written = open_folder(settings, only)
    if settings.follow:
        return written
    try:
        applied = applied_folder(written.folder, only)
    except OSError as error:
        fail(f"error: without following files, {written.folder} must be writable: {error.strerror}")
    return PolicyFolder(applied, settings.profile, only, written=written.folder)


@app.command("gateway", short_help="Serve one gateway's authorization and limits.")
def gateway(
    name: Annotated[str, typer.Argument(help="The gateway, such as marketing.")],
    metrics_listen: MetricsListen = "127.0.0.1:18002",
    policies: Policies = None,
    profile: Profile = None,
    store: Store = None,
    database: Database = None,
    state_dir: StateDir = None,
    grpc_server: GrpcServerOption = None,
    log_level: LogLevel = None,
    follow: Follow = None,
) -> None:
    """Serve one gateway's authorization and rate limits, where its policy tells Envoy to find them.

    Example: apibank serve gateway marketing --store redis://127.0.0.1:6379/0
    """
    _serve_gateway(
        name, metrics_listen, frozenset({"authz", "ratelimit"}),
        policies=policies, profile=profile, store=store, database=database, state_dir=state_dir,
        grpc_server=grpc_server, log_level=log_level, follow=follow,
    )  # fmt: skip


@app.command("authz")
def authz(
    name: Annotated[str, typer.Argument(help="The gateway, such as marketing.")],
    metrics_listen: MetricsListen = "127.0.0.1:18002",
    policies: Policies = None,
    profile: Profile = None,
    store: Store = None,
    database: Database = None,
    state_dir: StateDir = None,
    grpc_server: GrpcServerOption = None,
    log_level: LogLevel = None,
    follow: Follow = None,
) -> None:
    """Serve one gateway's authorization alone.

    Example: apibank serve authz marketing --store redis://127.0.0.1:6379/0
    """
    _serve_gateway(
        name, metrics_listen, frozenset({"authz"}),
        policies=policies, profile=profile, store=store, database=database, state_dir=state_dir,
        grpc_server=grpc_server, log_level=log_level, follow=follow,
    )  # fmt: skip


def _serve_gateway(name: str, metrics_listen: str, parts: frozenset[str], **options: object) -> None:
    from apibank.audit_trail import AuditPlace
    from apibank.gateway_service import GatewayService, run_gateway

    settings = settings_of(**options)
    store = named_store(settings.store)
    # Changes of the others' files are none of its business.
    folder = _folder_in_force(settings, (name,))
    if name not in folder.names():
        others = ", ".join(open_folder(settings).names())
        fail(f"error: there is no policy for {name!r} in {folder.folder}; there are {others}")
    service = GatewayService(
        name=name,
        folder=folder,
        store=store,
        database=settings.database_url(),
        metrics_listen=metrics_listen,
        grpc_server=settings.grpc_server,
        parts=parts,
        replicas=settings.replicas,
        counters=settings.counters,
        samples=settings.samples_folder(),
        audit=AuditPlace(
            name,
            settings.audit_folder(),
            settings.audit_spool_mib * 1024 * 1024,
            settings.audit_key(),
            settings.audit_keep_days,
        ),
    )
    _run(partial(run_gateway, service), log_level=settings.log_level)


app.command("ratelimit", short_help="Serve envoyproxy/ratelimit's files alone.")(ratelimit)


app.command("orchestration", short_help="Take messages for agents.")(orchestration)
app.command("platform", short_help="Serve the platform's own API.")(platform)
app.command("agents", short_help="Be the demo agents.")(agents)


@app.command("telemetry", short_help="Serve what Envoys tell of requests: usage and the request log.")
def telemetry(
    listen: Listen = "127.0.0.1:18003",
    exposed: Annotated[
        bool, typer.Option("--exposed", help="Listen beyond loopback without TLS: the network itself keeps others out.")
    ] = False,
    metrics_listen: MetricsListen = "127.0.0.1:18004",
    log_days: Annotated[float, typer.Option(min=0, max=3650, help="For how long single requests are kept.")] = 7.0,
    log_rows: Annotated[int, typer.Option(min=1, help="How many of them at most.")] = 1_000_000,
    trace_spans: Annotated[int, typer.Option(min=1, help="How many spans of traced requests at most.")] = 200_000,
    database: Database = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Take Envoys' access log, and keep usage and the request log of it.

    Example: apibank serve telemetry --listen 127.0.0.1:18003
    """
    from apibank.telemetry_service import TelemetryService, run_telemetry

    settings = settings_of(database=database, state_dir=state_dir, log_level=log_level)
    service = TelemetryService(
        listen=listen,
        metrics_listen=metrics_listen,
        database=settings.telemetry_database_url(),
        key_file=settings.audit_key(),
        exposed=exposed,
        log_days=log_days,
        log_rows=log_rows,
        trace_spans=trace_spans,
    )
    _run(partial(run_telemetry, service), log_level=settings.log_level)


@app.command("portal", short_help="Serve the developer portal and the API reference.")
def portal(
    listen: Listen = "127.0.0.1:18005",
    issuer: Annotated[
        str | None,
        typer.Option(help="URL of the openid-configuration where people sign in; unset: the API reference alone."),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option("--origin", help="Where browsers reach the gateway, https://HOST[:PORT]; several times."),
    ] = None,
    client_id: Annotated[str, typer.Option(help="The portal's name at the issuer.")] = "waooaw-portal",
    client_secret_file: Annotated[
        Path | None,
        typer.Option(help="Its secret there; unset: that of the development issuer of the state directory."),
    ] = None,
    admin_issuer: Annotated[
        str | None,
        typer.Option(help="openid-configuration where administrators sign in; unset: there is no console."),
    ] = None,
    control_api: Annotated[
        str | None, typer.Option(help="URL of the control API, for the console; its token: control.token.")
    ] = None,
    webhook_network: Annotated[
        list[str] | None,
        typer.Option(metavar="CIDR", help="Where webhooks may lead beyond the public Internet; several times."),
    ] = None,
    policies: Policies = None,
    profile: Profile = None,
    database: Database = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
    follow: Follow = None,
) -> None:
    """Serve the developer portal and the API reference, made from the policies; central has the routes to them.

    Example: apibank serve portal --issuer https://auth.waooaw.ai/.well-known/openid-configuration --origin https://api.waooaw.ai
    """
    from apibank.developer.place import developer_place
    from apibank.portal_service import PortalService, run_portal

    settings = settings_of(
        policies=policies,
        profile=profile,
        database=database,
        state_dir=state_dir,
        log_level=log_level,
        follow=follow,
        control_api=control_api,
    )
    developer = None
    if issuer is not None:
        try:
            networks = webhook_network or ()
            developer = developer_place(
                settings, issuer, origin or (), client_id, client_secret_file, networks, admin_issuer
            )
        except ValueError as error:
            fail(f"error: {error}")
    service = PortalService(folder=_folder_in_force(settings, None), listen=listen, developer=developer)
    _run(partial(run_portal, service), log_level=settings.log_level)


@app.command("issuer", short_help="Serve the development token issuers.")
def issuer(
    customer_port: Annotated[int, typer.Option(help="Port of the customers' issuer.")] = 18010,
    admin_port: Annotated[int, typer.Option(help="Port of the administrators' issuer.")] = 18011,
    origin: Annotated[
        list[str] | None, typer.Option("--origin", help="Where browsers reach the gateway; several times.")
    ] = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the development token issuers, on loopback. Not for production.

    Example: apibank serve issuer --customer-port 18010 --admin-port 18011
    """
    from apibank.demo_services import run_issuer

    settings = settings_of(state_dir=state_dir, log_level=log_level)
    ports = {"customer": customer_port, "admin": admin_port}
    _run(partial(run_issuer, settings.state_dir, ports, origin or ()), log_level=settings.log_level)


@app.command("upstreams", short_help="Serve demo services.")
def upstreams(
    service: Annotated[
        list[str], typer.Option("--service", metavar="NAME=PORT", help="A demo service; several times.")
    ],
    bus: Annotated[
        str | None, typer.Option("--bus", help="Where accepted requests go on to orchestration: a store's URL.")
    ] = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Serve demo upstreams that echo what reached them, on loopback. Not for production.

    Example: apibank serve upstreams --service marketing=18021
    """
    from apibank.demo_services import run_upstreams

    settings = settings_of(state_dir=state_dir, log_level=log_level)
    ports: dict[str, int] = {}
    for text in service:
        name, separator, port = text.partition("=")
        if not separator or not port.isdigit():
            fail(f"error: --service {text!r} is not NAME=PORT")
        ports[name] = int(port)
    _run(partial(run_upstreams, ports, bus), log_level=settings.log_level)


def _run(service: "Service", *, log_level: str) -> None:
    from apibank.running import run_service

    run_service(service, log_level=log_level)
