"""`apibank serve platform`: health, figures and administration."""

from functools import partial
from typing import Annotated

import typer

from apibank.commands.options import (
    Database,
    Listen,
    LogLevel,
    Policies,
    Profile,
    StateDir,
    Store,
    named_store,
    settings_of,
)
from apibank.commands.policies import open_folder
from apibank.commands.serve_agents import BusOption, OnlyGateways


def platform(
    listen: Listen = "127.0.0.1:18008",
    name: Annotated[
        str, typer.Option("--name", help="What no other process of the platform is called; unset: this machine's name.")
    ] = "",
    gateway: OnlyGateways = None,
    orchestration_listen: Annotated[
        str | None,
        typer.Option(help="With --bus memory: take messages for agents here, and be the demo agents."),
    ] = None,
    bus: BusOption = None,
    store: Store = None,
    database: Database = None,
    policies: Policies = None,
    profile: Profile = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the platform's own API; the platform gateway has the routes to it, and keeps others out.

    Example: apibank serve platform --store redis://127.0.0.1:6379/0
    """
    from apibank.platform_service import PlatformService, run_platform
    from apibank.running import run_service

    settings = settings_of(
        bus=bus, store=store, database=database, policies=policies, profile=profile, state_dir=state_dir,
        log_level=log_level,
    )  # fmt: skip
    store = named_store(settings.store)
    service = PlatformService(
        folder=open_folder(settings, tuple(gateway) if gateway else None),
        listen=listen,
        store=store,
        bus=named_store(settings.bus_url()),
        database=settings.database_url(),
        telemetry=settings.telemetry_database_url(),
        key_file=settings.audit_key(),
        name=name,
        orchestration_listen=orchestration_listen,
    )
    run_service(partial(run_platform, service), log_level=settings.log_level)
