"""`apibank limits`: which limits hold, and what is left of them. Asking charges nobody."""

import sys
from collections.abc import Mapping
from math import ceil
from typing import Annotated, Any, cast
from urllib.parse import urlencode

import typer

from apibank.commands.control import ask
from apibank.commands.options import Output, StateDir, settings_of
from apibank.output import Cell, OutputFormat, Row, fail, print_rows, print_value
from policy.kinds import Tier

app = typer.Typer(help="Limits, and what is left of them.", no_args_is_help=True, rich_markup_mode=None)

Gateway = Annotated[str | None, typer.Argument(help="The gateway, such as marketing; without one, all of them.")]
_LISTED = ("gateway", "limit", "per", "unit", "figures", "own", "algorithm", "shadow", "on_store_failure", "code")
_USED = ("gateway", "limit", "tier", "counted_as", "figure", "remaining", "retry_after", "reset", "shadow")
_OPTIONS = {name: f"--{name}" for name in ("limit", "tier", "subject", "tenant", "partner", "agent", "address")}


@app.command("list")
def list_limits(gateway: Gateway = None, output: Output = OutputFormat.TABLE, state_dir: StateDir = None) -> None:
    """List the limits in force, with their figures.

    Example: apibank limits list marketing
    """
    path = "/v1/limits" + _query(gateway=gateway)
    limits = cast(list[Mapping[str, Any]], ask(settings_of(state_dir=state_dir), "GET", path))
    if output is not OutputFormat.TABLE:
        print_value(limits, output)
        return
    rows: list[Row] = [
        {
            **one,
            "figures": _figures(one["figures"]),
            "own": [*_figures(one["tenants"], "tenant:"), *_figures(one["partners"], "partner:")],
        }
        for one in limits
    ]
    print_rows(rows, _LISTED, output, empty="no limits: see docs/operate/limits.md")


@app.command("usage", short_help="Show what is left to a caller.")
def usage(
    gateway: Gateway = None,
    subject: Annotated[str | None, typer.Option(help="Of a token that states no tenant: its subject.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Of a token that states one.")] = None,
    partner: Annotated[str | None, typer.Option(help="Of an API key.")] = None,
    agent: Annotated[str | None, typer.Option(help="Of a signature.")] = None,
    address: Annotated[str | None, typer.Option(help="A client's IP address; IPv6 stands for its /64.")] = None,
    limit: Annotated[str | None, typer.Option(help="Only this limit, as in the gateway's file.")] = None,
    tier: Annotated[Tier | None, typer.Option(help="Only this tier; without it, each that has figures.")] = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show what is left to a caller, and of what all callers share. It charges nothing.

    At most one of --subject, --tenant, --partner, --agent and --address says who; without any, only what all share
    is shown.

    Example: apibank limits usage marketing --tenant acme --tier free
    """
    who = {"subject": subject, "tenant": tenant, "partner": partner, "agent": agent, "address": address}
    _check_one(who)
    path = "/v1/usage" + _query(gateway=gateway, **who, limit=limit, tier=tier)
    answer = cast(Mapping[str, Any], ask(settings_of(state_dir=state_dir), "GET", path, options=_OPTIONS))
    if output is OutputFormat.TABLE:
        rows: list[Row] = [_shown(row) for row in answer["usage"]]
        nobody = "nothing is counted for all callers together: name one, with --tenant or another option"
        print_rows(rows, _USED, output, empty=nobody)
    else:
        print_value(dict(answer), output)
    for one in answer["unanswered"]:
        sys.stderr.write(f"warning: {one['gateway']} is not shown: {one['detail']}\n")


def _check_one(who: Mapping[str, str | None]) -> None:
    named = [f"--{name}" for name, value in who.items() if value is not None]
    if len(named) > 1:
        fail(f"error: {' and '.join(named)}: only one of {', '.join(f'--{name}' for name in who)}")


def _query(**wanted: str | None) -> str:
    given = urlencode({name: value for name, value in wanted.items() if value is not None})
    return f"?{given}" if given else ""


def _shown(row: Mapping[str, Any]) -> Row:
    per = "unlimited" if row["figure"] is None else f"{row['figure']} a {row['unit']}"
    return {
        **row,
        "figure": "refused" if row["figure"] == 0 else per,
        "retry_after": _seconds(row["retry_after_seconds"]),
        "reset": _seconds(row["reset_seconds"]),
    }


def _seconds(seconds: float | None) -> Cell:
    return "never" if seconds is None else f"{ceil(seconds)} s" if seconds else "-"


def _figures(figures: Mapping[str, int | None], kind: str = "") -> list[str]:
    return [f"{kind}{name} {'unlimited' if figure is None else figure}" for name, figure in figures.items()]
