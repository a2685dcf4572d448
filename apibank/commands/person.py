"""`apibank person`: what there is of one person, for who asks for it or wants it gone (GDPR, Art. 15 and 17)."""

from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import Database, Output, StateDir, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, print_rows, print_value

if TYPE_CHECKING:
    from apibank.person_desk import PersonDesk, Report

app = typer.Typer(help="What there is of one person.", no_args_is_help=True, rich_markup_mode=None)
Subject = Annotated[str, typer.Argument(help="The subject of their tokens.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("show", short_help="Print everything that there is of a person.")
def show(
    subject: Subject,
    output: Output = OutputFormat.JSON,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Print everything that there is of a person, by place. Needs the key of the pseudonyms.

    Example: apibank person show user_12345
    """
    from apibank.audit_desk import AuditDeskError

    desk = _desk(database, state_dir)
    try:
        found = desk.show(desk.person(subject))
    except AuditDeskError as error:
        fail(f"error: {error}")
    if output is OutputFormat.TABLE:
        rows: list[Row] = [{"place": name, "count": len(list(all_))} for name, all_ in found.items()]  # type: ignore[call-overload]
        print_rows(rows, ("place", "count"), output, empty="there is nothing of them")
    else:
        print_value(found, output)


@app.command("erase", short_help="Remove what there is of a person.")
def erase(
    subject: Subject,
    keep_audit: Annotated[bool, typer.Option("--keep-audit", help="Leave the audit, where a law wants it.")] = False,
    yes: Yes = False,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Remove what there is of a person, and tell how much from where. The audit's chains stay whole.

    Example: apibank person erase user_12345
    """
    from apibank.audit_desk import AuditDeskError
    from apibank.commands.control import author

    desk = _desk(database, state_dir)
    if not yes and not typer.confirm(f"Erase {subject!r} for good, consents included?", err=True):
        raise SystemExit(ANSWER_NO)
    try:
        report = desk.erase(desk.person(subject), author(), keep_audit=keep_audit)
    except AuditDeskError as error:
        fail(f"error: {error}")
    _tell(report, output)


@app.command("erase-again", short_help="After a restore: erase who was erased since.")
def erase_again(
    yes: Yes = False,
    output: Output = OutputFormat.TABLE,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Erase everybody who was erased before and is there again, as after the restore of a backup.

    Example: apibank person erase-again --yes
    """
    from apibank.audit_desk import AuditDeskError
    from apibank.commands.control import author

    desk = _desk(database, state_dir)
    if not yes and not typer.confirm("Erase again everybody who was erased before?", err=True):
        raise SystemExit(ANSWER_NO)
    try:
        count, report = desk.erase_again(author())
    except (AuditDeskError, OSError, ValueError) as error:
        fail(f"error: {error}")
    typer.echo(f"{count} people who were erased before were there again", err=True)
    _tell(report, output)


def _desk(database: str | None, state_dir: object) -> "PersonDesk":
    from apibank.audit_desk import AuditDeskError
    from apibank.person_desk import PersonDesk

    try:
        return PersonDesk(settings_of(database=database, state_dir=state_dir))
    except AuditDeskError as error:
        return fail(f"error: {error}")


def _tell(report: "Report", output: OutputFormat) -> None:
    rows: list[Row] = [{"place": place, "count": count} for place, count in report.places.items()]
    if output is OutputFormat.TABLE:
        print_rows(rows, ("place", "count"), output, empty="there was nothing of them")
    else:
        print_value({"places": report.places, "anchors": report.anchors, "later": report.later}, output)
    for line in report.anchors:
        typer.echo(f"keep this among the anchors: {line}", err=True)
    for line in report.later:
        typer.echo(f"note: {line}", err=True)
