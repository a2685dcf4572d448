"""The command line. Commands live in `apibank.commands`; this joins them and turns expected errors into one line."""

import sys
from typing import Annotated

import typer

from apibank import __version__
from apibank.commands import (
    audit,
    backups,
    bootstrap,
    break_glass,
    consents,
    credentials,
    databases,
    endpoints,
    explain,
    keys,
    limits,
    messages,
    person,
    policies,
    replay,
    serve,
    stack,
    tokens,
    traffic,
)

# What a shell says of a command that was ended by SIGPIPE.
_READER_GONE = 141

app = typer.Typer(
    name="apibank",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("up", short_help="Run the whole federation here until Ctrl-C.")(stack.up)
app.command("status", short_help="Show what every Envoy runs, and what is wrong.")(stack.status)
app.add_typer(serve.app, name="serve")
app.command("bootstrap", short_help="Print how an Envoy on a host of its own starts.")(bootstrap.bootstrap)
app.command("explain", short_help="Show which way a request takes, and why.")(explain.explain)
app.command("replay", short_help="Show what a policy would change for checks that were kept.")(replay.replay)
app.command("token")(credentials.token)
app.command("sign", short_help="Print the headers that sign a request.")(credentials.sign)
app.add_typer(keys.app, name="keys")
app.add_typer(limits.app, name="limits")
app.add_typer(messages.app, name="messages")
app.add_typer(audit.app, name="audit")
app.command("traffic", short_help="Show what the federation was sent.")(traffic.traffic)
app.command("cost", short_help="Show what requests cost, by domain and tier.")(traffic.cost)
app.add_typer(tokens.app, name="tokens")
app.add_typer(consents.app, name="consents")
app.add_typer(person.app, name="person")
app.add_typer(databases.app, name="database")
app.command("backup", short_help="Copy what must survive this machine.")(backups.backup)
app.command("restore", short_help="Bring a backup to an empty machine.")(backups.restore)
app.add_typer(break_glass.app, name="break-glass", short_help="A sealed credential for emergencies.")
app.add_typer(policies.app, name="policy")
app.add_typer(endpoints.app, name="endpoints")


@app.command("version")
def version() -> None:
    """Print the version.

    Example: apibank version
    """
    sys.stdout.write(__version__ + "\n")


def _print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A federation of API gateways: Envoy carries the data, this decides what Envoy runs, who may pass, how often."""
    del show_version


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except SystemExit:
        # Whoever read what is printed has had enough (`| head`). Typer ends with 1 then, which here is an answer, and
        # leaves this in the place of standard output.
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":
            raise SystemExit(_READER_GONE) from None
        raise
