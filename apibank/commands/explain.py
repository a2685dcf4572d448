"""`apibank explain`: which way a request takes by the policies, and what holds for it on that way."""

import base64
import ipaddress
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from apibank.commands.options import Output, Policies, Profile, StateDir, settings_of
from apibank.commands.stack_policies import load_of_stack, open_of_stack
from apibank.output import ANSWER_NO, CANNOT, OutputFormat, fail, print_value

if TYPE_CHECKING:
    from apibank.examined import Sent
    from apibank.explanation import Explanation
    from apibank.explanation import Policies as PoliciesByName

_MAX_FILE: Final = 4 * 1024 * 1024
# Keys of issuers that do not answer are waited for, gateway by gateway.
_WITHIN_SECONDS: Final = 60


def explain(
    method: Annotated[str, typer.Argument(help="Such as GET.")],
    path: Annotated[str, typer.Argument(help="From the / on, a query included: /api/marketing/content?page=2.")],
    gateway: Annotated[
        str | None, typer.Option("--gateway", help="Where the request comes in.  [default: central]")
    ] = None,
    listener: Annotated[
        str | None, typer.Option("--listener", help="By which door; else the first with a route for the path.")
    ] = None,
    token: Annotated[
        str | None, typer.Option("--token", help="An access token; others of this machine can read it: see below.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="An access token; - for stdin.")
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="An API key; - for stdin.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", metavar="'NAME: VALUE'", help="Another header; several times.")
    ] = None,
    body_file: Annotated[Path | None, typer.Option("--body-file", metavar="FILE", help="A body; - for stdin.")] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Where the client calls from.  [default: 127.0.0.1]")
    ] = None,
    policies: Policies = None,
    profile: Profile = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show which routes a request takes, gateway by gateway, why these, and which rules and limits hold there.

    Nothing is sent. Without --policies and --profile, the policies are those of the stack that runs here, else the
    shipped ones. With a token, a key, a header, a body or an address, also what each check of authorization says of
    it, those after the first refusal too, and what the service would be told. The control plane is asked where the
    policies are its own; else this machine fetches the issuers' keys, and knows no partner keys. Nothing is spent,
    counted or recorded by that, and no credential is printed. Give it as a file: arguments can be read by others.

    Exit code 0: it would be routed, and admitted. 1: it would be refused. 2: that cannot be said.

    Example: apibank explain POST /api/marketing/content
    """
    from apibank.commands.explain_shown import print_explanation
    from apibank.explanation import CannotExplainError, explained

    if not path.startswith("/"):
        fail(f"error: {path!r} is no path: it starts with /")
    headers = _headers(token, token_file, api_key_file, header or [], body_file)
    body = None if body_file is None else _content(body_file)
    asked = {"method": method.upper(), "path": path, "gateway": gateway, "listener": listener}
    checks = bool(headers) or body is not None or address is not None
    if checks and _is_address(address) and _control_plane_knows(policies, profile, state_dir):
        told = _asked_of_control_plane(asked, headers, body, address, state_dir)
    else:
        loaded = load_of_stack(open_of_stack(policies, profile, state_dir), ())
        start = gateway or ("central" if "central" in loaded else next(iter(loaded)))
        try:
            explanation = explained(loaded, method.upper(), path, start, listener)
        except CannotExplainError as error:
            fail(f"error: {error}")
        told = explanation.as_record()
        if checks:
            from apibank.examined import Sent

            told = _examined_here(explanation, loaded, Sent(headers, body, address or "127.0.0.1"))
    if output is OutputFormat.TABLE:
        print_explanation(told)
    else:
        print_value(told, output)
    sys.stdout.flush()
    if not told.get("certain", True):
        raise SystemExit(CANNOT)
    raise SystemExit(ANSWER_NO if told["refused"] else 0)


def _headers(
    token: str | None, token_file: Path | None, key_file: Path | None, others: list[str], body: Path | None
) -> dict[str, str]:
    if token is not None and token_file is not None:
        fail("error: --token and --token-file are two tokens")
    headers: dict[str, str] = {}
    for text in others:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or any(each in text for each in "\r\n\0"):
            fail("error: a --header is written 'NAME: VALUE', on one line")
        if headers.setdefault(name.strip().lower(), value.strip()) != value.strip():
            fail(f"error: --header {name.strip()} is given twice")
    if token is not None or token_file is not None:
        shown = token if token is not None else _text(cast(Path, token_file))
        headers["authorization"] = f"Bearer {shown}"
    if key_file is not None:
        headers["x-api-key"] = _text(key_file)
    if body is not None:
        headers.setdefault("content-type", "application/json")
    return headers


def _text(path: Path) -> str:
    try:
        return _content(path).decode("utf-8").strip()
    except UnicodeDecodeError:
        fail(f"error: {path} is not a text")


def _content(path: Path) -> bytes:
    try:
        content = sys.stdin.buffer.read(_MAX_FILE + 1) if str(path) == "-" else path.read_bytes()
    except OSError as error:
        fail(f"error: {path}: {error.strerror}")
    if len(content) > _MAX_FILE:
        fail(f"error: {path} has more than {_MAX_FILE} bytes")
    return content


def _is_address(address: str | None) -> bool:
    try:
        ipaddress.ip_address(address or "127.0.0.1")
    except ValueError:
        fail(f"error: {address!r} is no IP address")
    return True


def _control_plane_knows(policies: Path | None, profile: list[str] | None, state_dir: Path | None) -> bool:
    """Whether the policies that are meant are those of a control plane that can be asked."""
    from apibank.ready import StackNotRunningError, read_ready

    settings = settings_of(policies=policies, profile=profile, state_dir=state_dir)
    if settings.policies is not None or settings.profile:
        return False
    if settings.control_api is not None:
        return True
    try:
        read_ready(settings.state_dir)
    except StackNotRunningError:
        return False
    return True


def _asked_of_control_plane(
    asked: Mapping[str, object],
    headers: Mapping[str, str],
    body: bytes | None,
    address: str | None,
    state_dir: Path | None,
) -> dict[str, Any]:
    from apibank.commands.control import ask

    wanted = {
        **asked,
        "headers": dict(headers),
        "body": None if body is None else base64.b64encode(body).decode(),
        "address": address,
    }
    answer = ask(settings_of(state_dir=state_dir), "POST", "/v1/explain", wanted, within=_WITHIN_SECONDS)
    return cast(dict[str, Any], answer)


def _examined_here(explanation: "Explanation", policies: "PoliciesByName", sent: "Sent") -> dict[str, Any]:
    import asyncio
    import logging
    import time
    from functools import partial

    import structlog

    from apibank.examined import with_checks
    from apibank.facts_at_hand import facts_at_hand
    from authz.rules import PolicyUnusableError

    former = structlog.get_config()
    # What cannot be fetched is a note of the answer.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        return asyncio.run(with_checks(explanation, policies, sent, partial(facts_at_hand, database=None), time.time))
    except PolicyUnusableError as error:
        fail(f"error: {error}")
    finally:
        structlog.configure(**former)
