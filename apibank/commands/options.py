"""Options that several commands share, written once."""

from collections.abc import Mapping, Sequence
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
    list[str] | None,
    typer.Option("--profile", metavar="NAME|PATH", help="Overlay, by name or path; may be given several times."),
]
Store = Annotated[
    str | None, typer.Option("--store", help="Counters and nonces: valkey, memory or redis://HOST:PORT/DB.")
]
Database = Annotated[str | None, typer.Option("--database", help="sqlite:///PATH or postgresql://USER@HOST/NAME.")]
Listen = Annotated[str, typer.Option("--listen", help="HOST:PORT or unix:/PATH.")]
LogLevel = Annotated[str | None, typer.Option("--log-level", help="debug, info, warning or error.")]
GrpcServerOption = Annotated[
    str | None, typer.Option("--grpc-server", help="native (Rust, no TLS) or grpcio, for the hot services.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for the audit: up to 128 characters.")]
MetricsListen = Annotated[str, typer.Option("--metrics-listen", help="HOST:PORT of /metrics, /ready and /healthz.")]


def settings_of(**options: object) -> Settings:
    """Settings from the environment and a command's options; ends the command with a clear text where one is wrong."""
    if not options.get("profile"):
        options["profile"] = None
    try:
        return load_settings(options)
    except ValidationError as error:
        lines = [
            f"error: {_written(one['loc'], options)}: {one['msg'].removeprefix('Value error, ')}"
            + f" (found {one['input']!r})"
            for one in error.errors()
        ]
        fail("\n".join(lines))
    except ValueError as error:
        # Of a variable that holds a list or a map; its text has the field's name in quotes.
        name = str(error).partition('"')[2].partition('"')[0]
        fail(f'error: APIBANK_{name.upper()} is no JSON; a list is written ["production"], a map {{"marketing": 3}}')


def _written(place: tuple[int | str, ...], options: Mapping[str, object]) -> str:
    """A setting as whoever set it wrote it: an option of the command, or a variable."""
    name, *within = map(str, place)
    written = f"--{name.replace('_', '-')}" if options.get(name) is not None else f"APIBANK_{name.upper()}"
    return ".".join((written, *within))


def named_store(found: str) -> str:
    """The store, or the bus, of a service on its own; ends the command where only the embedded stack has it."""
    if found == "valkey":
        fail("error: --store valkey is the embedded stack's; give redis://HOST:PORT/DB, or memory for one process")
    return found


def no_such_gateway(name: str, folder: Path, names: Sequence[str]) -> str:
    """What to say of a gateway that a command names and a folder does not have."""
    if not folder.is_dir():
        return f"error: there is no folder of policies at {folder}"
    return f"error: there is no {name}.yaml in {folder}; there are: {', '.join(names) or 'none'}"


def named_hosts(given: Sequence[str]) -> dict[str, list[str]]:
    """NAME=HOST:PORT by NAME; ends the command with a clear text where one is written otherwise."""
    hosts: dict[str, list[str]] = {}
    for text in given:
        name, _, place = text.partition("=")
        host, _, port = place.rpartition(":")
        if not (name and host and port.isdigit() and 0 < int(port) < 65_536):
            fail(f"error: --gateway-host {text!r} is not NAME=HOST:PORT")
        hosts.setdefault(name, []).append(place)
    return hosts
