"""`apibank policy validate|lint`: what can be said of policy files before they are live."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import Output, Policies, Profile, no_such_gateway, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, print_rows, print_value
from apibank.settings import Settings

if TYPE_CHECKING:
    from apibank.inspection import Inspection, Issue

Gateways = Annotated[list[str] | None, typer.Argument(help="Only these gateways; all where none is named.")]
# Enough of a digest to tell it from others on a screen, as `apibank status` has it; -o json has all of it.
_SHORT = 8


def register(app: typer.Typer) -> None:
    """Add the commands to `apibank policy`."""
    app.command("validate", short_help="Check gateway files as they would run.")(validate)
    app.command("lint")(lint)


def validate(
    gateways: Gateways = None,
    policies: Policies = None,
    profile: Profile = None,
    envoy: Annotated[bool, typer.Option("--envoy/--no-envoy", help="Ask an Envoy too, if one is here.")] = True,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Check gateway files as they would run: schema, linter, consistency of the compiled resources, and Envoy itself.

    Nothing is published. Every error is shown with its file, line and column.

    Exit code 0: every file is good, warnings aside. 1: some are not. 2: that cannot be said.

    Example: apibank policy validate --profile production
    """
    from apibank.envoy_check import EnvoyFailedError
    from apibank.inspection import compiled, linted

    settings = settings_of(policies=policies, profile=profile)
    read = _read(settings, gateways)
    binary, notes = _envoy(settings, envoy)
    try:
        inspection = compiled(linted(read), binary)
    except EnvoyFailedError as error:
        fail(f"error: {error}; --no-envoy goes on without")
    notes = [*inspection.notes, *notes]
    good = not inspection.errors
    rows = _rows(inspection)
    if output is OutputFormat.TABLE:
        _print_issues(inspection.issues)
        if rows:
            shown = [{**row, "version": str(row["version"])[:_SHORT]} for row in rows]
            print_rows(shown, ("gateway", "version", "routes", "listeners", "owners"), output)
        sys.stdout.write("".join(f"note: {note}\n" for note in notes) + _summary(inspection))
    else:
        print_value(
            {
                "valid": good,
                "gateways": rows,
                "errors": [dict(one.as_record()) for one in inspection.errors],
                "warnings": [dict(one.as_record()) for one in inspection.warnings],
                "notes": notes,
            },
            output,
        )
    raise SystemExit(0 if good else ANSWER_NO)


def lint(
    gateways: Gateways = None,
    policies: Policies = None,
    profile: Profile = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is excepted in the files, with the reason.")
    ] = False,
    codes: Annotated[bool, typer.Option("--codes", help="List the codes instead.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are no better than errors.")] = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Find what policies may say and should not. Each finding has a code with a page in docs/lint/.

    Exit code 0: nothing, or warnings alone. 1: errors; with --strict, anything. 2: that cannot be said.

    Example: apibank policy lint marketing --profile production
    """
    from apibank.inspection import Inspection, issue_of
    from policy.lint import CODES, lint_all

    if codes:
        listed: list[Row] = [
            {"code": code, "severity": severity.value, "title": title, "page": f"docs/lint/{code}.md"}
            for code, (title, severity) in sorted(CODES.items())
        ]
        print_rows(listed, ("code", "severity", "title", "page"), output)
        return
    read = _read(settings_of(policies=policies, profile=profile), gateways)
    found = [
        issue_of(name, loaded, one)
        for name, loaded in read.gateways.items()
        for one in lint_all(loaded.gateway, loaded.positions)
        if everything or not one.excepted
    ]
    inspection = Inspection(read.gateways, [*read.issues, *found])
    if output is OutputFormat.TABLE:
        _print_issues(inspection.issues)
        sys.stdout.write(_summary(inspection))
    else:
        print_value([dict(one.as_record()) for one in inspection.issues], output)
    raise SystemExit(ANSWER_NO if inspection.errors or (strict and inspection.warnings) else 0)


def _read(settings: Settings, gateways: Sequence[str] | None) -> "Inspection":
    from apibank.commands.policies import open_folder
    from apibank.inspection import read

    only = tuple(gateways or ())
    folder = open_folder(settings, only or None, linted=False)
    for name in only:
        if name not in folder.names():
            fail(no_such_gateway(name, folder.folder, open_folder(settings, linted=False).names()))
    try:
        inspection = read(folder, whole=not only)
    except OSError as error:
        fail(f"error: {error}")
    if not (inspection.gateways or inspection.issues):
        fail(f"error: there is no gateway file in {folder.folder}")
    return inspection


def _envoy(settings: Settings, wanted: bool) -> tuple[Path | None, list[str]]:
    """The Envoy to ask, and what to say where none is asked."""
    from apibank.envoy_process import EnvoyNotFoundError, find_envoy

    if not wanted:
        return None, ["Envoy was not asked (--no-envoy)"]
    try:
        return find_envoy(settings.envoy_binary), []
    except EnvoyNotFoundError as error:
        if settings.envoy_binary is not None:
            fail(f"error: {error}")
        return None, [f"Envoy was not asked: {error}"]


def _rows(inspection: "Inspection") -> list[Row]:
    return [
        {
            "gateway": name,
            "version": one.gateway.version,
            "routes": len(one.gateway.routes),
            "listeners": list(one.gateway.listeners),
            "owners": list(one.gateway.owners),
        }
        for name, one in inspection.gateways.items()
    ]


def _print_issues(issues: Sequence["Issue"]) -> None:
    # Errors last: they are nearest to the summary, where one looks first.
    for one in sorted(issues, key=lambda one: (one.severity.value != "warning", one.diagnostic.position)):
        sys.stdout.write(f"{one}\n\n")


def _summary(inspection: "Inspection") -> str:
    errors, warnings = len(inspection.errors), len(inspection.warnings)
    if not errors and not warnings:
        return "no issues found\n"
    return f"{errors} error(s), {warnings} warning(s)\n"
