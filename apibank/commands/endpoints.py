"""`apibank endpoints`: where an upstream's hosts are, changed while running and without touching its file."""

from collections.abc import Mapping
from typing import Annotated, Any, cast

import typer

from apibank.commands.control import ask
from apibank.commands.options import Output, Reason, StateDir, settings_of
from apibank.output import ANSWER_NO, OutputFormat, Row, print_rows, print_value

app = typer.Typer(help="Show and set where an upstream's hosts are.", no_args_is_help=True, rich_markup_mode=None)

Gateway = Annotated[str, typer.Argument(help="The gateway, such as marketing.")]
Upstream = Annotated[str, typer.Argument(help="The upstream, as in the gateway's file.")]
_COLUMNS = ("upstream", "endpoints", "written", "overridden", "author", "at")


@app.command("show")
def show(gateway: Gateway, upstream: Upstream, output: Output = OutputFormat.TABLE, state_dir: StateDir = None) -> None:
    """Show where an upstream's hosts are now, and where its file says.

    Example: apibank endpoints show marketing marketing-agents
    """
    _print(ask(settings_of(state_dir=state_dir), "GET", _path(gateway, upstream)), output)


@app.command("set", short_help="Send an upstream's requests to other hosts.")
def set_(
    gateway: Gateway,
    upstream: Upstream,
    endpoints: Annotated[list[str], typer.Argument(help="IP:PORT, [IPV6]:PORT or unix:/PATH, one or several.")],
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Send an upstream's requests to these hosts, until `reset`, or until its file names others.

    Exit code 1: that upstream's hosts cannot be set so.

    Example: apibank endpoints set marketing marketing-agents 127.0.0.1:9001 127.0.0.1:9002
    """
    settings, body = settings_of(state_dir=state_dir), {"endpoints": endpoints}
    path = _path(gateway, upstream)
    _print(ask(settings, "PUT", path, body, reason=reason, refusal=ANSWER_NO), output)


@app.command("reset")
def reset(
    gateway: Gateway,
    upstream: Upstream,
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Let the file decide again where an upstream's hosts are.

    Example: apibank endpoints reset marketing marketing-agents
    """
    settings, path = settings_of(state_dir=state_dir), _path(gateway, upstream)
    _print(ask(settings, "DELETE", path, reason=reason, refusal=ANSWER_NO), output)


def _path(gateway: str, upstream: str) -> str:
    from urllib.parse import quote

    return f"/v1/gateways/{quote(gateway, safe='')}/upstreams/{quote(upstream, safe='')}/endpoints"


def _print(answer: object, output: OutputFormat) -> None:
    record = cast(Mapping[str, Any], answer)
    if output is OutputFormat.TABLE:
        row: Row = {**record, "at": str(record["at"] or "")[:19].replace("T", " ") or None}
        print_rows([row], _COLUMNS, output)
    else:
        print_value(dict(record), output)
