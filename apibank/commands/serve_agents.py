"""`apibank serve orchestration`, `apibank serve agents`: messages to agents, and the demo agents."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import (
    Listen,
    LogLevel,
    MetricsListen,
    Policies,
    Profile,
    StateDir,
    Store,
    named_store,
    settings_of,
)
from apibank.commands.policies import open_folder

if TYPE_CHECKING:
    from apibank.policies import PolicyFolder
    from apibank.settings import Settings

BusOption = Annotated[
    str | None,
    typer.Option("--bus", help="Where messages wait: a store's URL, or memory; unset: the store.  [env: APIBANK_BUS]"),
]
OnlyGateways = Annotated[
    list[str] | None, typer.Option("--gateway", help="Only the agents of these gateways; several times.")
]


def orchestration(
    listen: Listen = "127.0.0.1:18006",
    gateway: OnlyGateways = None,
    bus: BusOption = None,
    store: Store = None,
    policies: Policies = None,
    profile: Profile = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Take messages for agents and put them on the bus; the agents gateway has the routes to it.

    Example: apibank serve orchestration --store redis://127.0.0.1:6379/0
    """
    from apibank.agents_service import OrchestrationService, run_orchestration
    from apibank.running import run_service

    settings = settings_of(
        bus=bus, store=store, policies=policies, profile=profile, state_dir=state_dir, log_level=log_level
    )
    service = OrchestrationService(
        folder=_folder(settings, gateway), listen=listen, bus=named_store(settings.bus_url())
    )
    run_service(partial(run_orchestration, service), log_level=settings.log_level)


def agents(
    metrics_listen: MetricsListen = "127.0.0.1:18007",
    name: Annotated[
        str, typer.Option("--name", help="What no other process of them is called; unset: this machine's name.")
    ] = "",
    gateway: OnlyGateways = None,
    bus: BusOption = None,
    store: Store = None,
    policies: Policies = None,
    profile: Profile = None,
    state_dir: StateDir = None,
    log_level: LogLevel = None,
) -> None:
    """Be the agents: take their messages from the bus and acknowledge them. Not for production.

    Example: apibank serve agents --store redis://127.0.0.1:6379/0
    """
    from apibank.agents_service import AgentsService, run_demo_agents
    from apibank.running import run_service

    settings = settings_of(
        bus=bus, store=store, policies=policies, profile=profile, state_dir=state_dir, log_level=log_level
    )
    service = AgentsService(
        folder=_folder(settings, gateway), metrics_listen=metrics_listen, bus=named_store(settings.bus_url()), name=name
    )
    run_service(partial(run_demo_agents, service), log_level=settings.log_level)


def _folder(settings: "Settings", only: list[str] | None) -> "PolicyFolder":
    return open_folder(settings, tuple(only) if only else None)
