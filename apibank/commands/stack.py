"""`apibank up` and `apibank status`: run the federation on this machine, and see how it is."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

import typer

from apibank.commands.control import ask
from apibank.commands.options import Database, Output, Policies, Profile, StateDir, Store, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, plain_record, print_rows, print_value
from apibank.settings import Settings

_TYPE_COLUMNS = ("node", "type", "status", "resources", "versions")
_RESOURCE_COLUMNS = ("node", "type", "name", "status", "version", "message", "place")
_GATEWAY_COLUMNS = ("gateway", "policy", "revision", "live", "published", "notes")
# What is broken comes first, and stands for its type.
_ORDER = {"REJECTED": 0, "STALE": 1, "NOT SENT": 2, "SYNCED": 3}
# Enough of a digest to tell it from others on a screen; -o json has all of it.
_SHORT = 8


class PolicyErrorRecord(TypedDict, total=False):
    code: str
    hint: str
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
    behind: list[str]
    refused: list[dict[str, Any]]
    rolled_back: list[dict[str, Any]]
    canary: dict[str, Any] | None
    revision: int | None
    restored: bool
    endpoints: list[dict[str, Any]]
    condition: str


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
    envoys: Annotated[
        list[str] | None,
        typer.Option("--envoys", metavar="GATEWAY=N", help="Run N Envoys of a gateway; several times."),
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
        state_dir=state_dir,
        store=store,
        database=database,
        policies=policies,
        profile=profile or ["dev"],
        envoys=_counts(envoys),
    )
    only = None if gateways is None else tuple(name.strip() for name in gateways.split(",") if name.strip())
    raise SystemExit(run_stack(settings, only=only, ready_file=ready_file))


def _counts(texts: list[str] | None) -> dict[str, int] | None:
    """GATEWAY=N, several times."""
    counts = {}
    for text in texts or ():
        name, separator, count = text.partition("=")
        if not separator or not count.isdigit():
            fail(f"error: --envoys {text!r} is not GATEWAY=N")
        counts[name] = int(count)
    return counts or None


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Print again every second until Ctrl-C.")] = False,
    resources: Annotated[bool, typer.Option("--resources", help="A line for each resource.")] = False,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show, for each Envoy and resource: SYNCED, STALE, NOT SENT or REJECTED, and its version.

    Exit code 0: everything is in sync, or some Envoys try a candidate and all is well. 1: something is not, or a policy
    file is broken.

    Example: apibank status --watch
    """
    settings = settings_of(state_dir=state_dir)
    good = _show_status(settings, output, resources)
    while watch:
        time.sleep(1)
        sys.stdout.write("\x1b[2J\x1b[H" if sys.stdout.isatty() else "\n")
        good = _show_status(settings, output, resources)
    raise SystemExit(0 if good else ANSWER_NO)


def _show_status(settings: Settings, output: OutputFormat, each_resource: bool) -> bool:
    answer = ask(settings, "GET", "/v1/status")
    if not isinstance(answer, dict) or not {"gateways", "resources"} <= answer.keys():
        fail("error: the control API answered something that is no status")
    shown = cast(Status, plain_record(answer))
    if output is not OutputFormat.TABLE:
        print_value(answer, output)
    else:
        _print_tables(shown, each_resource)
    synced = all(row["status"] == "SYNCED" for row in shown["resources"])
    return synced and all(one["condition"] != "out of sync" for one in shown["gateways"])


def _print_tables(shown: Status, each_resource: bool) -> None:
    gateways: list[Row] = [
        {
            "gateway": one["gateway"],
            "policy": (one["version"] or "")[:_SHORT] or None,
            "live": f"{one['live']} of {one['envoys']}",
            "published": (one["published_at"] or "")[:19].replace("T", " ") or None,
            "revision": one["revision"],
            "notes": _notes(one),
        }
        for one in shown["gateways"]
    ]
    print_rows(gateways, _GATEWAY_COLUMNS, OutputFormat.TABLE, empty="no gateway has a policy")
    for one in shown["gateways"]:
        _print_errors(one)
        _print_withheld(one)
    sys.stdout.write("\n")
    by_type: dict[tuple[str, str], list[Row]] = {}
    for row in shown["resources"]:
        by_type.setdefault((str(row["node"]), str(row["type"])), []).append(row)
    if not each_resource:
        rows = sorted(map(_type_row, by_type.values()), key=_worst)
        print_rows(rows, _TYPE_COLUMNS, OutputFormat.TABLE, empty="no Envoy is connected")
    wanted = [row for row in shown["resources"] if each_resource or row["status"] != "SYNCED"]
    if wanted:
        sys.stdout.write("\n")
        print_rows(sorted(map(_resource_row, wanted), key=_worst), _RESOURCE_COLUMNS, OutputFormat.TABLE)


def _print_errors(one: GatewayRecord) -> None:
    for error in one["errors"]:
        place = f"{error['file']}:{error['line']}:{error['column']}: " if error["file"] else ""
        path = f"{error['path']}: " if error["path"] else ""
        hint = f"; {error['hint']}" if "hint" in error else ""
        kind = f"error[{error['code']}]" if "code" in error else "error"
        sys.stdout.write(f"\n{kind}: {place}{path}{error['message']}{hint}\n")
    if one["errors"]:
        sys.stdout.write(f"{one['gateway']} goes on with the last good policy\n")


def _notes(one: GatewayRecord) -> list[str]:
    """What is out of the ordinary, in a word each."""
    notes = [f"{len(one['errors'])} error(s)"] if one["errors"] else []
    if one["rolled_back"]:
        notes.append(f"{len(one['rolled_back'])} rolled back")
    if (canary := one["canary"]) is not None:
        notes.append(f"canary {canary['percent']} %" if canary["percent"] else "being applied")
    if one["restored"]:
        notes.append("restored")
    if one["endpoints"]:
        notes.append("endpoints set")
    return notes


def _print_withheld(one: GatewayRecord) -> None:
    """What Envoys refused and no longer get, who is behind, and what is tried."""
    for withheld in one["rolled_back"]:
        place = f"{withheld['file']}:{withheld['line']}: " if withheld["file"] else ""
        instead = "its last good content goes on" if withheld["served"] else "it is left out"
        sys.stdout.write(f"\nrolled back: {place}{withheld['type']} {withheld['name']!r}; {instead}\n")
        sys.stdout.write(f"  Envoy says: {withheld['message']}\n")
        for suspect in withheld["suspects"]:
            sys.stdout.write(f"  changed: {suspect['file']}:{suspect['line']}: {suspect['path']}\n")
    if one["behind"]:
        sys.stdout.write(f"\n{one['gateway']}: behind: {', '.join(one['behind'])}\n")
    if (canary := one["canary"]) is not None:
        on = f" on {', '.join(canary['nodes'])}" if canary["nodes"] else ""
        revision = "" if canary["revision"] is None else f"revision {canary['revision']}, "
        sys.stdout.write(f"\n{one['gateway']}: {revision}version {canary['version'][:_SHORT]}: {canary['step']}{on}\n")


def _type_row(rows: list[Row]) -> Row:
    worst = min(rows, key=_worst)
    versions = sorted({str(row["version"])[:_SHORT] for row in rows})
    return {
        "node": worst["node"],
        "type": worst["type"],
        "status": worst["status"],
        "resources": len(rows),
        "versions": versions if len(versions) < 3 else [*versions[:2], f"and {len(versions) - 2} more"],
    }


def _resource_row(row: Row) -> Row:
    place = f"{row['file']}:{row['line']}" if row["file"] else None
    return {**row, "version": str(row["version"])[:_SHORT], "place": place}


def _worst(row: Row) -> int:
    return _ORDER.get(str(row["status"]), 0)
