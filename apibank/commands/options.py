"""Options that several commands share, written once."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from apibank.output import OutputFormat, fail
from apibank.settings import Settings, load_settings

Output = Annotated[OutputFormat, typer.Option("-o", "--output", help="How to print the answer.")]
StateDir = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where the stack keeps its state.  [env: APIBANK_STATE_DIR; default: .apibank]"),
]
Policies = Annotated[Path | None, typer.Option("--policies", help="Folder of gateway files, instead of the shipped.")]
Profile = Annotated[
    list[str] | None, typer.Option("--profile", help="Overlay, by name or path; may be given several times.")
]
Store = Annotated[
    str | None, typer.Option("--store", help="Counters and nonces: valkey, memory or redis://HOST:PORT/DB.")
]
Database = Annotated[str | None, typer.Option("--database", help="sqlite:///PATH or postgresql://USER@HOST/NAME.")]
Listen = Annotated[str, typer.Option("--listen", help="HOST:PORT or unix:/PATH.")]


def settings_of(**options: object) -> Settings:
    """Settings from the environment and a command's options; ends the command with a clear text where one is wrong."""
    if not options.get("profile"):
        options["profile"] = None
    try:
        return load_settings(options)
    except ValidationError as error:
        lines = [
            f"error: {'.'.join(str(part) for part in one['loc'])}: {one['msg'].removeprefix('Value error, ')}"
            + f" (found {one['input']!r})"
            for one in error.errors()
        ]
        fail("\n".join(lines))
