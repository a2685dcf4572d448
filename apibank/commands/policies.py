"""`apibank policy`: what SREs do with the gateways' files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.changes import register
from apibank.commands.options import Output, Policies, Profile, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, print_rows, print_value
from apibank.settings import Settings

app = typer.Typer(help="Work on the gateways' policy files.", no_args_is_help=True, rich_markup_mode=None)


if TYPE_CHECKING:
    from apibank.policies import PolicyFolder


def open_folder(settings: Settings, only: tuple[str, ...] | None = None) -> "PolicyFolder":
    """The folder that the settings name; ends the command where it, or a profile, is not there."""
    from apibank.policies import PolicyFolder, UnknownProfileError, shipped

    try:
        return PolicyFolder(settings.policies or shipped("gateways"), settings.profile, only)
    except (FileNotFoundError, UnknownProfileError) as error:
        fail(f"error: {error}")


@app.command("validate")
def validate(policies: Policies = None, profile: Profile = None, output: Output = OutputFormat.TABLE) -> None:
    """Check every gateway file under its overlays; print all errors, each with its file, line and column.

    Exit code 0: every file is good. 1: some are not.

    Example: apibank policy validate --profile production
    """
    from policy.problem import PolicyError

    folder = open_folder(settings_of(policies=policies, profile=profile))
    try:
        loaded = folder.load_strictly()
    except PolicyError as error:
        if output is OutputFormat.TABLE:
            sys.stdout.write(f"{error}\n\n{len(error.problems)} error(s)\n")
        else:
            print_value({"valid": False, "errors": [dict(one.as_record()) for one in error.problems]}, output)
        raise SystemExit(ANSWER_NO) from None
    except OSError as error:
        fail(f"error: {error}")
    if not loaded:
        fail(f"error: there is no gateway file in {folder.folder}")
    rows: list[Row] = [
        {
            "gateway": name,
            "version": one.gateway.version,
            "routes": len(one.gateway.routes),
            "listeners": list(one.gateway.listeners),
            "owners": list(one.gateway.owners),
        }
        for name, one in loaded.items()
    ]
    if output is OutputFormat.TABLE:
        print_rows(rows, ("gateway", "version", "routes", "listeners", "owners"), output)
        sys.stdout.write("no issues found\n")
    else:
        print_value({"valid": True, "gateways": rows}, output)


@app.command("schema")
def schema(
    target: Annotated[Path | None, typer.Argument(help="File to write; standard output where absent.")] = None,
) -> None:
    """Print the JSON Schema of a gateway file, for editors.

    Example: apibank policy schema envoy/gateway.schema.json
    """
    from policy.schema import schema_text

    text = schema_text()
    if target is None:
        sys.stdout.write(text)
    else:
        try:
            target.write_text(text, encoding="utf-8")
        except OSError as error:
            fail(f"error: {target} cannot be written: {error.strerror}")


register(app)
