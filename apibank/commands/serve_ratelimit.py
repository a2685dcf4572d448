"""`apibank serve ratelimit`: the place of envoyproxy/ratelimit (docs/operate/limits-service.md)."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from apibank.commands.options import GrpcServerOption, Listen, LogLevel, MetricsListen, StateDir, settings_of
from apibank.output import ANSWER_NO, fail, plain

if TYPE_CHECKING:
    from ratelimit.config_files import FileOptions

HeaderName = Annotated[str, typer.Option(metavar="NAME", help="What that header is called.")]


def ratelimit(
    config: Annotated[Path, typer.Option("--config", help="Folder of rate-limit files (envoyproxy/ratelimit's YAML).")],
    check: Annotated[
        bool, typer.Option("--check", help="Only read the files, print the rules or what is wrong, and end.")
    ] = False,
    listen: Listen = "127.0.0.1:8081",
    exposed: Annotated[
        bool, typer.Option("--exposed", help="Listen beyond loopback without TLS: the network itself keeps others out.")
    ] = False,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM chain of the gRPC server; with --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of it. All three are read again when replaced.")] = None,
    tls_authority: Annotated[Path | None, typer.Option(help="PEM authority that callers must prove.")] = None,
    metrics_listen: MetricsListen = "127.0.0.1:18002",
    http_listen: Annotated[
        str | None,
        typer.Option("--http-listen", help="HOST:PORT of /json, /healthcheck and /rlconfig; none unless set."),
    ] = None,
    merge_domains: Annotated[
        bool, typer.Option("--merge-domains", help="A domain may stand in several files, as MERGE_DOMAIN_CONFIG.")
    ] = False,
    shadow: Annotated[bool, typer.Option("--shadow", help="Count and refuse nothing, as SHADOW_MODE.")] = False,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="Answer with the rules' metadata, as RESPONSE_DYNAMIC_METADATA.")
    ] = False,
    overrun: Annotated[
        bool, typer.Option("--overrun", help="Several hits that do not fit use up what is left: for costs known late.")
    ] = False,
    headers: Annotated[
        Literal["never", "refusal", "always"], typer.Option("--headers", help="When answers have RateLimit headers.")
    ] = "never",
    limit_header: HeaderName = "X-RateLimit-Limit",
    remaining_header: HeaderName = "X-RateLimit-Remaining",
    reset_header: HeaderName = "X-RateLimit-Reset",
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Where it is counted: redis://HOST:PORT/DB or another store's URL; memory for one process on its own."
            "  [env: APIBANK_STORE; default: memory]",
        ),
    ] = None,
    on_store_failure: Annotated[
        Literal["closed", "open", "local"],
        typer.Option(
            "--on-store-failure",
            help="While the store is away: an error for Envoy, OK, or a share of each limit counted in the process"
            " (one of APIBANK_REPLICAS).",
        ),
    ] = "closed",
    state_dir: StateDir = None,
    grpc_server: GrpcServerOption = None,
    log_level: LogLevel = None,
) -> None:
    """Serve rate limits from envoyproxy/ratelimit's configuration files, and nothing else.

    Example: apibank serve ratelimit --config ./config --store memory --listen 127.0.0.1:8081
    """
    from apibank.ratelimit_service import RateLimitService, run_ratelimit
    from apibank.running import run_service
    from apibank.served_tls import ServedTls
    from policy.limits import StoreFailure
    from ratelimit.config_files import FileOptions
    from ratelimit.rules import DomainRules, HeaderNames, Headers, Node

    try:
        names = HeaderNames(limit_header, remaining_header, reset_header)
    except ValueError as error:
        fail(f"error: {error}")
    if (tls_certificate is None) != (tls_key is None) or (tls_authority is not None and tls_key is None):
        fail("error: --tls-certificate and --tls-key belong together, and --tls-authority to them")
    if not config.is_dir():
        fail(f"error: there is no folder of rate-limit files at {config}")
    form = DomainRules(
        "",
        Node(),
        Headers(headers),
        names=names,
        metadata=metadata,
        overrun=overrun,
        on_store_failure=StoreFailure(on_store_failure),
    )
    options = FileOptions(merge_domains, shadow, form)
    if check:
        _check_limits(config, options)
        return
    settings = settings_of(store=store, state_dir=state_dir, grpc_server=grpc_server, log_level=log_level)
    if settings.store == "valkey" and "store" in settings.model_fields_set:
        said = "--store" if store else "APIBANK_STORE"
        fail(f"error: {said}: no valkey comes with this service; redis://HOST:PORT/DB of one, or memory")
    service = RateLimitService(
        config=config,
        listen=listen,
        metrics_listen=metrics_listen,
        # On its own there is no embedded Valkey, and one process counts exactly by itself.
        store="memory" if settings.store == "valkey" else settings.store,
        grpc_server=settings.grpc_server,
        exposed=exposed,
        http_listen=http_listen,
        options=options,
        tls=ServedTls(tls_certificate, tls_key, tls_authority) if tls_certificate and tls_key else None,
        counters=settings.counters,
        replicas=settings.replicas,
    )
    run_service(partial(run_ratelimit, service), log_level=settings.log_level)


def _check_limits(config: Path, options: "FileOptions") -> None:
    from policy.problem import PolicyError
    from ratelimit.config_files import read_folder
    from ratelimit.listing import listed

    try:
        rules = read_folder(config, options)
        if not rules:
            fail(f"error: there is no *.yaml or *.yml with a domain in {config}: nothing would be limited", ANSWER_NO)
        typer.echo(plain(listed(rules)))
    except PolicyError as error:
        typer.echo(plain(str(error)))
        raise typer.Exit(1) from error
    except OSError as error:
        fail(f"error: {error}")
