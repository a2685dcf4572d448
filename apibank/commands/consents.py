"""`apibank consents`: parents' consents for their children. Each change returns when every gateway decides by it."""

from typing import Annotated, Final, cast
from urllib.parse import quote, urlencode

import typer

from apibank.commands.control import ask
from apibank.commands.options import Output, Reason, StateDir, settings_of
from apibank.output import OutputFormat, Row, print_rows, print_said

app = typer.Typer(help="Parents' consents for their children.", no_args_is_help=True, rich_markup_mode=None)
_OPTIONS: Final = {"child": "--child", "parent": "--parent", "method": "--method", "purposes": "--purpose"}
_COLUMNS = ("id", "child", "parent", "method", "purposes", "status", "expires_at")


@app.command("grant", short_help="Record a parent's consent.")
def grant(
    child: Annotated[str, typer.Option(help="The child: the subject of its tokens.")],
    parent: Annotated[str, typer.Option(help="The parent: the subject of its tokens.")],
    method: Annotated[str, typer.Option(help="How the parent was verified, such as signed_form or payment_card.")],
    purpose: Annotated[
        list[str] | None, typer.Option(help="What the parent agrees to; several times.  [default: education]")
    ] = None,
    expires_in_days: Annotated[int, typer.Option(min=1, max=732, metavar="N", help="1 to 732.")] = 365,
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Record that a parent consents.

    Example: apibank consents grant --child student_child --parent parent_1 --method signed_form
    """
    new = {
        "child": child,
        "parent": parent,
        "method": method,
        "purposes": purpose or ["education"],
        "expires_in_days": expires_in_days,
    }
    row = cast(Row, ask(settings_of(state_dir=state_dir), "POST", "/v1/consents", new, reason=reason, options=_OPTIONS))
    print_said(
        row, f"{row['id']}: {row['parent']} consents for {row['child']} until {str(row['expires_at'])[:10]}", output
    )


@app.command("list", short_help="List consents, also those that are over.")
def list_consents(
    child: Annotated[str | None, typer.Option(help="Only a child's.")] = None,
    parent: Annotated[str | None, typer.Option(help="Only a parent's.")] = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """List consents, also those that are over.

    Example: apibank consents list --parent parent_1
    """
    wanted = urlencode({name: value for name, value in (("child", child), ("parent", parent)) if value is not None})
    rows = cast(list[Row], ask(settings_of(state_dir=state_dir), "GET", f"/v1/consents{'?' if wanted else ''}{wanted}"))
    if output is OutputFormat.TABLE:
        rows = [{**row, "expires_at": str(row["expires_at"])[:10]} for row in rows]
    print_rows(rows, _COLUMNS, output, empty="no consent is on record: see `apibank consents grant --help`")


@app.command("revoke", short_help="End a consent now.")
def revoke(
    consent_id: Annotated[str, typer.Argument(help="The consent's id, as `apibank consents list` shows it.")],
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """End a consent now; it stays on record.

    Example: apibank consents revoke c_3f9c
    """
    path = f"/v1/consents/{quote(consent_id, safe='')}/revoke"
    row = cast(Row, ask(settings_of(state_dir=state_dir), "POST", path, reason=reason))
    print_said(row, f"{row['id']}: {row['parent']} consents no more for {row['child']}", output)
