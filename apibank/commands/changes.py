"""`apibank policy diff|apply|history|rollback`: policies as a running control plane knows and changes them."""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from apibank.commands.changes_shown import (
    ROLLOUT_COLUMNS,
    print_diff,
    print_history,
    rollout_row,
    warning_line,
)
from apibank.commands.control import AwayError, ask
from apibank.commands.options import Output, Profile, StateDir, no_such_gateway, settings_of
from apibank.output import ANSWER_NO, OutputFormat, fail, print_rows, print_value
from apibank.settings import Settings

_POLL_SECONDS = 0.1
_AWAY_SECONDS = 0.5
# The control plane's answer to an apply waits for authorization, for two seconds a gateway.
_APPLY_SECONDS = 120
_SOMETHING_ELSE = "error: the control API answered something else than was asked for"
_VERSION = re.compile(r"[0-9a-f]{1,64}")
_BASE = re.compile(r"[0-9a-f]{4,64}|sha256:[0-9a-f]{64}")

Gateways = Annotated[list[str] | None, typer.Argument(help="Only these gateways; all where none is named.")]
Policies = Annotated[
    Path | None, typer.Option("--policies", help="Folder of gateway files, instead of the control plane's own.")
]
Message = Annotated[str, typer.Option("-m", "--message", help="Why, for the history.")]
Canary = Annotated[
    int | None, typer.Option("--canary", min=1, max=100, metavar="PERCENT", help="Try it on so many Envoys first.")
]
# Bounded on both sides, so that neither infinity nor what is no number passes for seconds.
Soak = Annotated[float, typer.Option("--soak", min=0, max=86_400, help="Seconds that the canary must hold.")]
Wait = Annotated[bool, typer.Option("--wait", help="Return when every connected Envoy runs it.")]
Within = Annotated[float, typer.Option("--within", min=1, max=3600, help="Seconds to wait for Envoys' answers.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `apibank policy`."""
    app.command("diff", short_help="Show what applying the files would change.")(diff)
    app.command("apply", short_help="Make files live.")(apply)
    app.command("history", short_help="Show what became live when, and by whom.")(history)
    app.command("rollback", short_help="Make a former text live again.")(rollback)
    app.command("forget", short_help="Drop a gateway that is not coming back.")(forget)


def diff(
    gateways: Gateways = None,
    policies: Policies = None,
    profile: Profile = None,
    against: Annotated[
        str,
        typer.Option("--against", metavar="live|plain|DIR", help="What is live; the files without overlays; a folder."),
    ] = "live",
    resources: Annotated[bool, typer.Option("--resources", help="Also the resources that Envoys would get.")] = False,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show what applying the files would change: of the policy first, of Envoy's resources on demand.

    Exit code 0: nothing. 1: something. 2: that cannot be said.

    Example: apibank policy diff marketing --resources
    """
    settings = settings_of(policies=policies, profile=profile, state_dir=state_dir)
    if against == "live":
        if profile:
            fail(
                "error: --profile needs --against plain or --against DIR: what is live has the control plane's overlays"
            )
        body = {**_wanted(settings, policies, gateways), "resources": resources}
        answer = _record(ask(settings, "POST", "/v1/policies/diff", body, within=_APPLY_SECONDS), "gateways")
    else:
        from apibank.commands.local_diff import local_diff

        answer = local_diff(settings, tuple(gateways or ()), against, resources)
    if output is OutputFormat.TABLE:
        print_diff(answer)
    else:
        print_value(answer, output)
    changed = any(one["changes"] or one.get("resources") for one in answer["gateways"])
    raise SystemExit(ANSWER_NO if changed else 0)


def apply(
    gateways: Gateways = None,
    policies: Policies = None,
    message: Message = "",
    canary: Canary = None,
    soak: Soak = 30.0,
    base: Annotated[
        list[str] | None,
        typer.Option("--base", metavar="GATEWAY=VERSION", help="Only if this version is live; several times."),
    ] = None,
    wait: Wait = False,
    within: Within = 30.0,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Make files live, recorded with who and why; --canary tries them on some Envoys first, --wait until all run them.

    Without --policies the folder that the control plane reads is applied itself.

    Exit code 0: live, or accepted where a canary goes on without --wait. 1: refused, halted, or not live in time.
    2: it could not be asked for.

    Example: apibank policy apply marketing --policies ./gateways --canary 20 --soak 60 --wait -m "new tones"
    """
    settings = settings_of(policies=policies, state_dir=state_dir)
    body: dict[str, Any] = {**_wanted(settings, policies, gateways), "message": message}
    _add_bases(body, base)
    _change(settings, "/v1/policies/apply", body, _plan(canary, soak, within), wait, within, output)


def history(
    gateway: Annotated[str | None, typer.Argument(help="Only this gateway.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="The newest so many.")] = 20,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show what became live when, by whom and why, and what became of it; the newest first.

    Example: apibank policy history marketing --limit 5
    """
    settings = settings_of(state_dir=state_dir)
    chosen = "" if gateway is None else f"&gateway={_in_path(gateway)}"
    answer = cast(list[dict[str, Any]], ask(settings, "GET", f"/v1/policies/history?limit={limit}{chosen}"))
    if not isinstance(answer, list):
        fail(_SOMETHING_ELSE)
    if not answer and gateway is not None:
        # One that is gone has a history still; without one, it is misspelt or new.
        ask(settings, "GET", f"/v1/policies/{_in_path(gateway)}")
    if output is OutputFormat.TABLE:
        print_history(answer)
    else:
        print_value(answer, output)


def rollback(
    version: Annotated[
        str | None, typer.Argument(metavar="V", help="Revision, or beginning of a version; else the last change.")
    ] = None,
    gateway: Annotated[str | None, typer.Option("--gateway", help="Of this gateway.")] = None,
    message: Message = "",
    canary: Canary = None,
    soak: Soak = 30.0,
    wait: Wait = False,
    within: Within = 30.0,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Make a former text of a gateway's file live again; without V, the one before the last live change.

    Exit codes as of `policy apply`.

    Example: apibank policy rollback --gateway marketing --wait
    """
    settings = settings_of(state_dir=state_dir)
    if version is not None and not _VERSION.fullmatch(version):
        fail(
            f"error: {version!r} is no revision (a number) and no version (the beginning of it, as `history` shows it)"
        )
    body = {"target": version, "gateway": gateway, "message": message}
    _change(settings, "/v1/policies/rollback", body, _plan(canary, soak, within), wait, within, output)


def forget(
    gateway: Annotated[str, typer.Argument(help="The gateway, whose file is gone and whose Envoys are stopped.")],
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Drop what is published of a gateway that is not coming back, and what a restart would serve of it.

    Its history stays: `policy rollback REVISION` brings it back. Exit code 1: its file is there, or its Envoys are.

    Example: apibank policy forget marketing
    """
    path = f"/v1/policies/{_in_path(gateway)}"
    answer = _record(ask(settings_of(state_dir=state_dir), "DELETE", path, refusal=ANSWER_NO), "gateway", "forgotten")
    if output is OutputFormat.TABLE:
        print_rows([answer], ("gateway", "forgotten"), output)
    else:
        print_value(answer, output)


def _change(
    settings: Settings,
    path: str,
    body: dict[str, Any],
    plan: Mapping[str, float] | None,
    wait: bool,
    within: float,
    output: OutputFormat,
) -> None:
    """Ask for a change, follow it where that is wanted, print what became of it, and end with the exit code."""
    body["canary"] = plan
    answer = _record(
        ask(settings, "POST", path, body, reason=body["message"], within=_APPLY_SECONDS, refusal=ANSWER_NO), "rollouts"
    )
    for one in answer["warnings"]:
        sys.stderr.write(warning_line(one) + "\n")
    rollouts = answer["rollouts"]
    if wait:
        soak = 0.0 if plan is None else plan["soak"] + plan["within"]
        rollouts = [_followed(settings, one, within, soak) for one in rollouts]
    if output is OutputFormat.TABLE:
        print_rows([rollout_row(one) for one in rollouts], ROLLOUT_COLUMNS, output, empty="there is no gateway")
    else:
        print_value({"rollouts": rollouts, "warnings": answer["warnings"]}, output)
    raise SystemExit(0 if all(_good(one, wait) for one in rollouts) else ANSWER_NO)


def _followed(settings: Settings, begun: dict[str, Any], within: float, trial: float) -> dict[str, Any]:
    """The rollout once it has ended and every Envoy has answered, or when the time is over."""
    deadline = time.monotonic() + within + trial
    ended_at: float | None = None
    while True:
        try:
            shown = _where(settings, begun)
        except AwayError as error:
            # It may be started anew: what became of the change is in the history.
            if time.monotonic() >= deadline:
                fail(f"error: {error}")
            time.sleep(_AWAY_SECONDS)
            continue
        done = shown["result"] != "running"
        if done and shown["result"] not in {"live", "unchanged"}:
            return shown
        if done and not shown.get("current", True):
            return {**shown, "late": True, "superseded": True}
        if done and (shown["rolled_back"] or shown["refused"] or shown["live"] == shown["envoys"] > 0):
            return shown
        if done and ended_at is None:
            # The wait for answers begins when the canary has passed.
            ended_at = time.monotonic()
            deadline = ended_at + within
        if time.monotonic() >= deadline:
            return {**shown, "late": True}
        time.sleep(_POLL_SECONDS)


def _where(settings: Settings, begun: dict[str, Any]) -> dict[str, Any]:
    if begun["revision"] is not None:
        shown = _record(ask(settings, "GET", f"/v1/policies/rollouts/{begun['revision']}", patient=True))
        return {**shown, "result": "unchanged"} if begun["result"] == "unchanged" else shown
    status = _record(ask(settings, "GET", "/v1/status?resources=false", patient=True))
    of_gateway = next(one for one in status["gateways"] if one["gateway"] == begun["gateway"])
    return {**begun, **{name: of_gateway[name] for name in ("envoys", "live", "behind", "refused", "rolled_back")}}


def _good(one: Mapping[str, Any], waited: bool) -> bool:
    if one["result"] not in {"live", "unchanged", "running"}:
        return False
    return not waited or not (one.get("late") or one["rolled_back"] or one["refused"])


def _wanted(settings: Settings, policies: Path | None, gateways: Sequence[str] | None) -> dict[str, Any]:
    """The files of a folder that was named; else only which gateways, as the control plane has files of its own."""
    if policies is None:
        return {"only": list(gateways)} if gateways else {}
    paths = {path.stem: path for path in sorted(policies.glob("*.yaml")) if not path.name.startswith(".")}
    if missing := [name for name in gateways or () if name not in paths]:
        fail(no_such_gateway(missing[0], policies, list(paths)))
    if not policies.is_dir():
        fail(f"error: there is no folder of policies at {policies}")
    if not paths:
        fail(f"error: there is no gateway file in {policies}")
    texts = {name: {"text": _text(paths[name]), "file": str(paths[name])} for name in gateways or paths}
    return {"gateways": texts}


def _text(path: Path) -> str:
    try:
        # As it is, with its line ends.
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        return fail(f"error: {path} cannot be read: {error}")


def _add_bases(body: dict[str, Any], bases: Sequence[str] | None) -> None:
    for text in bases or ():
        name, separator, version = text.partition("=")
        if not separator or not _BASE.fullmatch(version):
            fail(f"error: --base {text!r} is not GATEWAY=VERSION, with 4 digits of the version at least, nor a digest")
        body.setdefault("bases", {})[name] = version


def _plan(canary: int | None, soak: float, within: float) -> dict[str, float] | None:
    return None if canary is None else {"percent": canary, "soak": soak, "within": within}


def _in_path(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _record(answer: object, *fields: str) -> dict[str, Any]:
    if not isinstance(answer, dict) or not answer.keys() >= set(fields):
        fail(_SOMETHING_ELSE)
    return answer
