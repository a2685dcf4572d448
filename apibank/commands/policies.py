"""`apibank policy`: what SREs do with the gateways' files."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands import changes, checks, translate
from apibank.output import fail
from apibank.settings import Settings

app = typer.Typer(help="Work on the gateways' policy files.", no_args_is_help=True, rich_markup_mode=None)


if TYPE_CHECKING:
    from apibank.policies import PolicyFolder


def open_folder(settings: Settings, only: tuple[str, ...] | None = None, *, linted: bool = True) -> "PolicyFolder":
    """The folder that the settings name; ends the command where it, or a profile, is not there.

    `linted`: whether an error of the linter refuses a file.
    """
    from apibank.policies import PolicyFolder, UnknownProfileError, shipped

    try:
        return PolicyFolder(settings.policies or shipped("gateways"), settings.profile, only, linted=linted)
    except (FileNotFoundError, UnknownProfileError) as error:
        fail(f"error: {error}")


checks.register(app)
translate.register(app)


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


changes.register(app)
