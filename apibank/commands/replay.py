"""`apibank replay`: what a policy would make of checks that were kept, before it is applied."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import Output, Policies, Profile, StateDir, settings_of
from apibank.commands.stack_policies import load_of_stack, open_of_stack
from apibank.output import ANSWER_NO, OutputFormat, Row, fail, plain, print_rows, print_value

if TYPE_CHECKING:
    from apibank.replaying import Report

_COLUMNS = ("change", "count", "route", "before", "after", "example")


def replay(
    gateway: Annotated[str, typer.Argument(help="Whose kept checks; its policy says `replay: {}`.")],
    policies: Policies = None,
    profile: Profile = None,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="DIR", help="Where checks are kept.  [default: samples of the state dir]"),
    ] = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Decide kept checks again by the policies of a folder, and show what would change, per route and reason.

    Nothing is sent. Without --profile, the profiles are those of the stack that runs here. What cannot be known
    without what is not kept is `unknown`, with what is lacking.

    Exit code 0: nothing would be refused that was admitted. 1: something would. 2: nothing is kept, or the policy is
    not good.

    Example: apibank replay marketing --policies candidate
    """
    from apibank.replaying import replay_all
    from apibank.sample_spool import kept_samples
    from authz.rules import PolicyUnusableError

    loaded = load_of_stack(open_of_stack(policies, profile or _profiles_here(state_dir), state_dir), [gateway])
    folder = samples or settings_of(state_dir=state_dir).samples_folder()
    try:
        report = replay_all(loaded[gateway].gateway, kept_samples(folder, gateway))
    except PolicyUnusableError as error:
        fail(f"error: {error}")
    except OSError as error:
        fail(f"error: {error}")
    if not report.replayed:
        fail(f"error: nothing is kept of {gateway} in {folder}; its policy says `replay: {{}}` for that")
    if output is OutputFormat.TABLE:
        _show(report)
    else:
        print_value(report.as_record(), output)
    sys.stdout.flush()
    raise SystemExit(ANSWER_NO if report.refuses else 0)


def _profiles_here(state_dir: Path | None) -> list[str] | None:
    from apibank.ready import StackNotRunningError, read_ready

    try:
        return read_ready(settings_of(state_dir=state_dir).state_dir).profiles
    except StackNotRunningError:
        return None


def _show(report: "Report") -> None:
    rows: list[Row] = []
    for one in report.changes:
        example = one["example"]
        assert isinstance(example, dict)
        rows.append(
            {
                **{name: str(one[name]) or "(admitted)" for name in _COLUMNS if name != "example"},
                "change": str(one["change"]).replace("_", " "),
                "example": plain(f"{example['method']} {example['path']}"),
            }
        )
    print_rows(rows, _COLUMNS, OutputFormat.TABLE, empty="nothing would change")
    sys.stdout.write(f"{report.replayed} checks of {report.gateway}, {report.unchanged} the same\n")
