"""`apibank keys`: the partners' API keys. Each command returns when the change is in force on every gateway."""

import sys
from enum import StrEnum
from typing import Annotated, Final, cast
from urllib.parse import quote

import typer

from apibank.commands.control import ask
from apibank.commands.options import Output, Reason, StateDir, settings_of
from apibank.output import ANSWER_NO, Cell, OutputFormat, Row, print_rows, print_said, print_value

app = typer.Typer(help="Partners' API keys.", no_args_is_help=True, rich_markup_mode=None)
_COLUMNS = ("id", "partner", "tier", "scopes", "networks", "status", "expires_at", "last_used_at")
_OPTIONS: Final = {"partner": "--partner", "scopes": "--scope", "networks": "--ip"}
KeyId = Annotated[str, typer.Argument(help="The key's id, as `apibank keys list` shows it.")]


class KeyTier(StrEnum):
    FREE = "free"
    BUSINESS = "business"
    ENTERPRISE = "enterprise"


@app.command("create")
def create(
    partner: Annotated[str, typer.Option(help="Whose key it is.")],
    scope: Annotated[list[str], typer.Option(help="Such as partner:acme:marketing:read; may be given several times.")],
    tier: Annotated[KeyTier, typer.Option(help="What the partner pays for.")] = KeyTier.BUSINESS,
    ip: Annotated[list[str] | None, typer.Option("--ip", metavar="CIDR", help="Where it works; several times.")] = None,
    expires_in_days: Annotated[int, typer.Option(min=1, max=90, metavar="N", help="1 to 90.")] = 90,
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Make a key and print it: the only time that it is shown.

    Example: apibank keys create --partner acme --scope partner:acme:marketing:read --ip 203.0.113.0/24
    """
    new = {
        "partner": partner,
        "scopes": scope,
        "tier": tier.value,
        "networks": ip or [],
        "expires_in_days": expires_in_days,
    }
    answer = ask(settings_of(state_dir=state_dir), "POST", "/v1/keys", new, reason=reason, options=_OPTIONS)
    _show_new(answer, output, any_address=not ip)


@app.command("list")
def list_keys(output: Output = OutputFormat.TABLE, state_dir: StateDir = None) -> None:
    """List the keys, without the keys themselves.

    Example: apibank keys list -o json
    """
    rows = cast(list[Row], ask(settings_of(state_dir=state_dir), "GET", "/v1/keys"))
    if output is OutputFormat.TABLE:
        rows = [{**row, **{name: _minute(row[name]) for name in ("expires_at", "last_used_at")}} for row in rows]
    print_rows(rows, _COLUMNS, output, empty="no keys yet: make one with `apibank keys create`")


@app.command("expiring", short_help="List keys that end soon and have no successor.")
def expiring(
    days: Annotated[int, typer.Option(min=1, max=90, help="How far ahead to look.")] = 14,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """List live keys that end soon and have no successor; exit code 1 if there are any.

    Example: apibank keys expiring --days 14
    """
    rows = cast(list[Row], ask(settings_of(state_dir=state_dir), "GET", f"/v1/keys/expiring?days={days}"))
    if output is OutputFormat.TABLE:
        shown = [{**row, **{name: _minute(row[name]) for name in ("expires_at", "last_used_at")}} for row in rows]
        print_rows(shown, _COLUMNS, output, empty=f"no key ends within {days} days without a successor")
    else:
        print_rows(rows, _COLUMNS, output)
    if rows:
        raise SystemExit(ANSWER_NO)


@app.command("rotate", short_help="Make a new key with the old one's rights.")
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=720, metavar="HOURS", help="How long the old key goes on: 0 to 720.")
    ] = 24,
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Make a new key with the old one's rights, and print it; the old one ends after the overlap.

    Example: apibank keys rotate k_3f9c --overlap-hours 48
    """
    path = f"/v1/keys/{quote(key_id, safe='')}/rotate"
    answer = ask(settings_of(state_dir=state_dir), "POST", path, {"overlap_hours": overlap_hours}, reason=reason)
    _show_new(answer, output, any_address=False)


@app.command("revoke")
def revoke(
    key_id: KeyId, reason: Reason = None, output: Output = OutputFormat.TABLE, state_dir: StateDir = None
) -> None:
    """End a key now.

    Example: apibank keys revoke k_3f9c
    """
    path = f"/v1/keys/{quote(key_id, safe='')}/revoke"
    row = cast(Row, ask(settings_of(state_dir=state_dir), "POST", path, reason=reason))
    print_said(row, f"key {key_id} of {row['partner']} is revoked on every gateway", output)


def _minute(time: Cell) -> str | None:
    """An RFC 3339 time as far as one wants to read it; -o json has all of it."""
    return str(time)[:16].replace("T", " ") if time else None


def _show_new(answer: object, output: OutputFormat, *, any_address: bool) -> None:
    row = cast(Row, answer)
    if output is not OutputFormat.TABLE:
        print_value(dict(row), output)
        return
    sys.stdout.write(f"{row['key']}\n")
    sys.stderr.write(
        f"key {row['id']} of {row['partner']}, tier {row['tier']}, until {_minute(row['expires_at'])} UTC\n"
        "keep it now, it is not shown again\n"
    )
    if any_address:
        sys.stderr.write("it works from any address: bind it with --ip\n")
