"""`apibank token` and `apibank sign`: credentials of the development stack, for people and scripts."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from apibank.commands.options import StateDir, settings_of
from apibank.output import fail
from waooaw_signing import sign as sign_request


class IssuerName(StrEnum):
    CUSTOMER = "customer"
    ADMIN = "admin"


def token(
    issuer: Annotated[IssuerName, typer.Option(help="Which development issuer signs.")] = IssuerName.CUSTOMER,
    sub: Annotated[str | None, typer.Option("--sub", help="Subject.")] = None,
    role: Annotated[str | None, typer.Option("--role", help="Role, such as customer, student, company, admin.")] = None,
    tier: Annotated[str | None, typer.Option("--tier", help="free, business, enterprise or internal.")] = None,
    scope: Annotated[list[str] | None, typer.Option("--scope", help="Scope; may be given several times.")] = None,
    claim: Annotated[
        list[str] | None, typer.Option("--claim", metavar="K=JSON", help="Any claim, with any JSON.")
    ] = None,
    expires_in: Annotated[int, typer.Option("--expires-in", metavar="SECONDS", help="May be negative.")] = 3600,
    state_dir: StateDir = None,
) -> None:
    """Print a token of a development issuer. Nothing is validated: what you ask for is signed.

    Example: apibank token --issuer customer --role customer --tier business --scope 'marketing:*'
    """
    claims: dict[str, object] = {
        name: value for name, value in (("sub", sub), ("role", role), ("tier", tier)) if value is not None
    }
    if scope:
        claims["scopes"] = scope
    for text in claim or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            fail(f"error: --claim {text!r} is not K=JSON")
        try:
            claims[name] = json.loads(value)
        except json.JSONDecodeError as error:
            fail(f"error: the value of --claim {name} is not JSON: {error}; quote text as '\"text\"'")
    directory = settings_of(state_dir=state_dir).state_dir
    from apibank.issuer.mint import mint

    try:
        sys.stdout.write(mint(directory, issuer.value, claims=claims, expires_in=expires_in) + "\n")
    except FileNotFoundError as error:
        fail(f"error: no development issuer in {directory} ({error}): start the stack with `apibank up`")


def sign(
    agent: Annotated[str, typer.Option("--agent", help="The agent's id, such as vision.")],
    url: Annotated[str, typer.Option("--url", help="The whole URL that will be called.")],
    method: Annotated[str, typer.Option("--method", help="The method that will be used.")] = "POST",
    body_file: Annotated[Path | None, typer.Option("--body-file", help="The body that will be sent.")] = None,
    state_dir: StateDir = None,
) -> None:
    """Print the headers that sign a request (RFC 9421), one `Name: value` a line, with the agent's development secret.

    Example: apibank sign --agent vision --url https://127.0.0.1:10444/api/agents/memory --body-file message.json
    """
    from apibank.addresses import secrets_directory

    directory = secrets_directory(settings_of(state_dir=state_dir).state_dir)
    try:
        secret = (directory / agent).read_text(encoding="utf-8").split()[0].encode()
    except (OSError, IndexError):
        fail(f"error: there is no secret of agent {agent!r} in {directory}")
    try:
        body = b"" if body_file is None else body_file.read_bytes()
    except OSError as error:
        fail(f"error: {body_file} cannot be read: {error.strerror}")
    try:
        headers = sign_request(method, url, body, agent, secret)
    except ValueError as error:
        fail(f"error: {error}")
    for name, value in headers.items():
        sys.stdout.write(f"{name}: {value}\n")
