"""`apibank break-glass`: the sealed credential for when the issuer of administrators is down. Needs nothing running."""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from apibank.output import fail, plain

app = typer.Typer(
    help="The sealed credential for when the administrators' issuer is down.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
SEALED: Final = "break-glass.sealed"
PUBLIC: Final = "break-glass.pub.pem"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}

PassphraseFile = Annotated[
    Path | None, typer.Option(help="A file whose first line is the passphrase, instead of being asked for it.")
]


@app.command("init", short_help="Make a key, sealed for the safe.")
def init(
    out: Annotated[Path, typer.Option(help="Folder for the two files; neither may be there yet.")],
    issuer: Annotated[str | None, typer.Option(help="The `issuer` that policy declares.")] = None,
    audience: Annotated[str | None, typer.Option(help="The `audience` that policy declares.")] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a key: sealed by a passphrase, for the safe, and its public half, for the gateways.

    Example: apibank break-glass init --out ./break-glass
    """
    from apibank.break_glass import DEFAULT_AUDIENCE, DEFAULT_ISSUER, SealError, make_key, seal
    from apibank.private_files import private_directory, write_private

    sealed, public = out / SEALED, out / PUBLIC
    for path in (sealed, public):
        if path.exists():
            fail(f"error: {path} is there already; a key is never overwritten")
    key = make_key(issuer or DEFAULT_ISSUER, audience or DEFAULT_AUDIENCE)
    try:
        text = seal(key, _passphrase(passphrase_file, confirm=True))
        # A folder that is there already may be anybody's: its files are private, and it stays as it is.
        if not out.is_dir():
            private_directory(out)
        write_private(sealed, text.encode())
        public.write_bytes(key.public_pem)
    except SealError as error:
        fail(f"error: {error}")
    except OSError as error:
        fail(f"error: {out} cannot be written: {error.strerror}")
    sys.stdout.write(f"{sealed}\n{public}\n")
    sys.stderr.write(f"key {key.kid}: keep the first file and its passphrase apart, give the second to the gateways\n")


@app.command("issue", short_help="Print a token for a short while.")
def issue(
    key: Annotated[Path, typer.Option(help=f"The sealed key, {SEALED}.")],
    reason: Annotated[str, typer.Option(help="Why; it stands in every line of the audit. 10 to 100 characters.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Who will use it.")],
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="Such as 15m; at most 1h.")] = "15m",
    passphrase_file: PassphraseFile = None,
) -> None:
    """Print a token that administers the platform for a short while; every use of it is told.

    Example: apibank break-glass issue --key break-glass.sealed --as asha --reason 'INC-42: issuer is down' --for 15m
    """
    from apibank.break_glass import SealError, mint_emergency, unseal

    found = re.fullmatch(r"([1-9]\d{0,4})([smh])", duration)
    if found is None:
        fail(f"error: --for {duration!r} is not a time such as 90s, 15m or 1h")
    seconds = int(found[1]) * _UNITS[found[2]]
    try:
        text = key.read_text(encoding="utf-8")
        now = time.time()
        opened = unseal(text, _passphrase(passphrase_file, confirm=False))
        token, jti = mint_emergency(opened, name=name, reason=reason, seconds=seconds, now=now)
    except SealError as error:
        fail(f"error: {error}")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"error: {key} cannot be read: {error}")
    until = datetime.fromtimestamp(now + seconds, UTC)
    sys.stdout.write(token + "\n")
    sys.stderr.write(
        plain(f"{name}, until {until:%H:%M:%S} UTC: {reason}\nto end it sooner: apibank tokens revoke ")
        + plain(f"--issuer {opened.issuer} --jti {jti} --reason done\n")
        + "\n"
    )


def _passphrase(file: Path | None, *, confirm: bool) -> str:
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").split("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            fail(f"error: {file} cannot be read: {error}")
    given: str = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return given
