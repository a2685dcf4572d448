"""`apibank database`: which tables there are, brought forward before an upgrade and back after one that failed."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from apibank.commands.options import Database, Output, StateDir, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, print_rows, print_value

app = typer.Typer(help="The tables, and their revision.", no_args_is_help=True, rich_markup_mode=None)
T = TypeVar("T")


@app.command("status", short_help="Show which revision the tables are.")
def status(output: Output = OutputFormat.TABLE, database: Database = None, state_dir: StateDir = None) -> None:
    """Show which revision the tables are, and the newest that this version knows: exit code 1 if they differ.

    Example: apibank database status
    """
    from records.upgrade import HEAD, revision_of

    found: list[Row] = []
    for name, url in _databases(database, state_dir):
        revision = _done(revision_of(url))
        found.append({"database": name, "revision": revision or "none", "known": HEAD, "same": revision == HEAD})
    if output is OutputFormat.TABLE:
        print_rows(found, ("database", "revision", "known"), output)
    else:
        print_value(found, output)
    if not all(row["same"] for row in found):
        raise SystemExit(ANSWER_NO)


@app.command("upgrade", short_help="Bring the tables to the newest revision.")
def upgrade(database: Database = None, state_dir: StateDir = None) -> None:
    """Bring the tables to the newest revision; every process does so when it starts.

    Example: apibank database upgrade
    """
    from records.upgrade import HEAD, revision_of
    from records.upgrade import upgrade as bring_forward

    for name, url in _databases(database, state_dir):
        before = _done(revision_of(url))
        _done(bring_forward(url))
        typer.echo(f"{name}: {before or 'no tables'} -> {_done(revision_of(url)) or HEAD}")


@app.command("downgrade", short_help="Take newer tables away, with what is in them.")
def downgrade(
    revision: Annotated[str, typer.Argument(help="As the older version's `apibank database status` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    database: Database = None,
    state_dir: StateDir = None,
) -> None:
    """Take tables and columns away that came after a revision, with what is in them. Stop the newer processes first.

    Example: apibank database downgrade 043_webhook_care
    """
    from records.upgrade import downgrade as take_back

    if not yes and not typer.confirm(f"Remove what came after {revision}, for good?", err=True):
        raise SystemExit(ANSWER_NO)
    for name, url in _databases(database, state_dir):
        _done(take_back(url, revision))
        typer.echo(f"{name}: {revision}")


def _databases(database: str | None, state_dir: Path | None) -> list[tuple[str, str]]:
    """Names and addresses of those that are there; an address may hold a password, and is not printed."""
    settings = settings_of(database=database, state_dir=state_dir)
    first, second = settings.database_url(), settings.telemetry_database_url()
    if first == second:
        return [("database", first)]
    there = [(Path(url.removeprefix("sqlite:///")).name, url) for url in (first, second)]
    found = [(name, url) for name, url in there if Path(url.removeprefix("sqlite:///")).exists()]
    return found or [fail(f"error: there is no database in {settings.state_dir}")]


def _done(work: Coroutine[object, object, T]) -> T:
    from records.errors import LOST_DATABASE, RecordsError

    try:
        return asyncio.run(work)
    except RecordsError as error:
        return fail(f"error: {error}")
    except LOST_DATABASE as error:
        return fail(f"error: the database does not answer: {type(error).__name__}")
