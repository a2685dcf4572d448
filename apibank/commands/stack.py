"""`apibank up` and `apibank status`: run the federation on this machine, and see how it is."""

import sys
import time
from pathlib import Path
from typing import Annotated, TypedDict, cast

import typer

from apibank.commands.control import ask
from apibank.commands.options import Database, Output, Policies, Profile, StateDir, Store, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, print_rows, print_value
from apibank.settings import Settings

_RESOURCE_COLUMNS = ("gateway", "node", "type", "name", "status", "version", "message")
_GATEWAY_COLUMNS = ("gateway", "version", "live", "published_at", "errors")


class PolicyErrorRecord(TypedDict, total=False):
    file: str
    line: int
    column: int
    path: str
    message: str


class GatewayRecord(TypedDict):
    gateway: str
    version: str | None
    published_at: str | None
    envoys: int
    live: int
    errors: list[PolicyErrorRecord]


class Status(TypedDict):
    gateways: list[GatewayRecord]
    resources: list[Row]


def up(
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Write the ready file here too, when everything serves.")
    ] = None,
    gateways: Annotated[
        str | None, typer.Option("--gateways", metavar="A,B", help="Only these gateways; central is always there.")
    ] = None,
    state_dir: StateDir = None,
    store: Store = None,
    database: Database = None,
    policies: Policies = None,
    profile: Profile = None,
) -> None:
    """Run the whole federation on this machine until Ctrl-C: Envoys, control plane, authorization, limits, services.

    Example: apibank up --gateways central,marketing
    """
    from apibank.devstack import run_stack

    settings = settings_of(
        state_dir=state_dir, store=store, database=database, policies=policies, profile=profile or ["dev"]
    )
    only = None if gateways is None else tuple(name.strip() for name in gateways.split(",") if name.strip())
    raise SystemExit(run_stack(settings, only=only, ready_file=ready_file))


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Print again every second until Ctrl-C.")] = False,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show, for each Envoy and resource: SYNCED, STALE, NOT SENT or REJECTED, and its version.

    Exit code 0: everything is in sync. 1: something is not, or a policy file is broken.

    Example: apibank status --watch
    """
    settings = settings_of(state_dir=state_dir)
    good = _show_status(settings, output)
    while watch:
        time.sleep(1)
        sys.stdout.write("\x1b[2J\x1b[H" if sys.stdout.isatty() else "\n")
        good = _show_status(settings, output)
    raise SystemExit(0 if good else ANSWER_NO)


def _show_status(settings: Settings, output: OutputFormat) -> bool:
    answer = ask(settings, "GET", "/v1/status")
    if not isinstance(answer, dict):
        fail("error: the control API answered something that is no status")
    shown = cast(Status, answer)
    if output is not OutputFormat.TABLE:
        print_value(answer, output)
    else:
        _print_tables(shown)
    synced = all(row["status"] == "SYNCED" for row in shown["resources"])
    return synced and all(not one["errors"] and one["live"] == one["envoys"] > 0 for one in shown["gateways"])


def _print_tables(shown: Status) -> None:
    rows: list[Row] = [
        {
            "gateway": one["gateway"],
            "version": one["version"],
            "live": f"{one['live']} of {one['envoys']}",
            "published_at": one["published_at"],
            "errors": len(one["errors"]),
        }
        for one in shown["gateways"]
    ]
    print_rows(rows, _GATEWAY_COLUMNS, OutputFormat.TABLE, empty="no gateway has a policy")
    for one in shown["gateways"]:
        for error in one["errors"]:
            place = f"{error['file']}:{error['line']}:{error['column']}: " if error["file"] else ""
            path = f"{error['path']}: " if error["path"] else ""
            sys.stdout.write(
                f"\nerror: {place}{path}{error['message']}\n       {one['gateway']} goes on with the last good policy\n"
            )
    sys.stdout.write("\n")
    # What is broken comes first.
    order = {"REJECTED": 0, "STALE": 1, "NOT SENT": 2, "SYNCED": 3}
    resources = sorted(shown["resources"], key=lambda row: order.get(str(row["status"]), 0))
    print_rows(resources, _RESOURCE_COLUMNS, OutputFormat.TABLE, empty="no Envoy is connected")
