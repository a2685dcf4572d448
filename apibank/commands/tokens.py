"""`apibank tokens`: tokens that are refused although they are good."""

import base64
import binascii
import json
import sys
from pathlib import Path
from typing import Annotated, Final, cast
from urllib.parse import quote

import typer

from apibank.commands.control import ask
from apibank.commands.options import Output, Reason, StateDir, settings_of
from apibank.output import Cell, OutputFormat, Row, fail, plain, print_rows, print_said

app = typer.Typer(help="Revoked access tokens.", no_args_is_help=True, rich_markup_mode=None)
_OPTIONS: Final = {
    "issuer": "--issuer", "jti": "--jti", "subject": "--sub", "issued_until": "--issued-until", "reason": "--reason",
}  # fmt: skip
_COLUMNS = ("id", "issuer", "jti", "subject", "issued_until", "until", "reason")


@app.command("revoke", short_help="Refuse a token, or all of a subject's so far.")
def revoke(
    reason: Annotated[str, typer.Option(help="Why; it is kept with the entry.")],
    issuer: Annotated[
        str | None, typer.Option(help="The tokens' iss, or the name that policies have for the issuer.")
    ] = None,
    jti: Annotated[str | None, typer.Option("--jti", help="One token, by its id.")] = None,
    sub: Annotated[
        str | None, typer.Option("--sub", help="All tokens of a subject that were issued until now.")
    ] = None,
    issued_until: Annotated[
        str | None, typer.Option(metavar="TIME", help="With --sub: tokens issued until then (RFC 3339) instead of now.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="The token itself, - for standard input: its iss and jti are taken from it.")
    ] = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Refuse a token, or all of a subject's so far; returns when every gateway does.

    Example: apibank tokens revoke --issuer customer --sub user_678 --reason 'laptop stolen'
    """
    if token_file is not None:
        if issuer or jti or sub:
            fail("error: --token-file says which token; --issuer, --jti and --sub do not go with it")
        issuer, jti = _named_by(token_file)
    if issuer is None or (jti is None) == (sub is None):
        fail("error: give --issuer with one of --jti and --sub, or --token-file")
    new = {"issuer": issuer, "jti": jti, "subject": sub, "issued_until": issued_until, "reason": reason}
    wanted = {name: value for name, value in new.items() if value is not None}
    settings = settings_of(state_dir=state_dir)
    row = cast(Row, ask(settings, "POST", "/v1/revocations", wanted, reason=reason, options=_OPTIONS))
    _tell(row, output, "is refused" if jti else "are refused")


@app.command("revocations")
def revocations(output: Output = OutputFormat.TABLE, state_dir: StateDir = None) -> None:
    """List what is revoked and not yet over.

    Example: apibank tokens revocations -o json
    """
    rows = cast(list[Row], ask(settings_of(state_dir=state_dir), "GET", "/v1/revocations"))
    if output is OutputFormat.TABLE:
        # To the second, which is what a token's iat has; -o json has all of it.
        rows = [{**row, **{name: _second(row[name]) for name in ("issued_until", "until")}} for row in rows]
    print_rows(rows, _COLUMNS, output, empty="no token is revoked")


@app.command("restore", short_help="Take a revocation back.")
def restore(
    revocation_id: Annotated[str, typer.Argument(help="The entry's id, as `apibank tokens revocations` shows it.")],
    reason: Reason = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Take a revocation back: its tokens are accepted again for as long as they live.

    Example: apibank tokens restore r_3f9c
    """
    path = f"/v1/revocations/{quote(revocation_id, safe='')}"
    row = cast(Row, ask(settings_of(state_dir=state_dir), "DELETE", path, reason=reason))
    _tell(row, output, "accepted again")


def _second(time: Cell) -> str | None:
    return str(time)[:19].replace("T", " ") if time else None


def _tell(row: Row, output: OutputFormat, said: str) -> None:
    running = cast(list[str], row["in_force_on"])
    what = f"token {row['jti']}" if row["jti"] else f"tokens of {row['subject']}"
    print_said(row, f"{row['id']}: {what} {said} by {len(running)} processes", output)
    for instance in cast(list[str], row["silent"]):
        sys.stderr.write(
            plain(f"{instance} is silent: if it runs without its database, it goes by the list that it has") + "\n"
        )


def _named_by(file: Path) -> tuple[str, str]:
    """`iss` and `jti` of a token, which is neither verified nor printed."""
    try:
        text = (sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")).strip()
        payload = text.removeprefix("Bearer ").split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer, jti = claims["iss"], claims["jti"]
    except OSError as error:
        fail(f"error: {file} cannot be read: {error.strerror}")
    except (ValueError, IndexError, KeyError, TypeError, binascii.Error):
        fail("error: that is not a token with iss and jti; name it by --issuer with --jti or --sub")
    if not isinstance(issuer, str) or not isinstance(jti, str):
        fail("error: the token's iss and jti are not texts")
    return issuer, jti
