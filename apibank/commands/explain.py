"""`apibank explain`: which way a request takes by the policies, and what holds for it on that way."""

import sys
from typing import Annotated

import typer

from apibank.commands.options import Output, Policies, Profile, StateDir
from apibank.commands.stack_policies import load_of_stack, open_of_stack
from apibank.output import ANSWER_NO, OutputFormat, fail, print_value

_EDGE = "central"


def explain(
    method: Annotated[str, typer.Argument(help="Such as GET.")],
    path: Annotated[str, typer.Argument(help="From the / on, a query included: /api/marketing/content?page=2.")],
    gateway: Annotated[
        str | None, typer.Option("--gateway", help="Where the request comes in.  [default: central]")
    ] = None,
    listener: Annotated[
        str | None, typer.Option("--listener", help="By which door; else the first with a route for the path.")
    ] = None,
    policies: Policies = None,
    profile: Profile = None,
    output: Output = OutputFormat.TABLE,
    state_dir: StateDir = None,
) -> None:
    """Show which routes a request takes, gateway by gateway, why these, and which rules and limits hold there.

    Nothing is sent. Without --policies and --profile, the policies are those of the stack that runs here, else the
    shipped ones.

    Exit code 0: it would be routed. 1: routing would refuse it (400, 404, 405, 410, 503). 2: that cannot be said.

    Example: apibank explain POST /api/marketing/content
    """
    from apibank.commands.explain_shown import print_explanation
    from apibank.explanation import CannotExplainError, explained

    if not path.startswith("/"):
        fail(f"error: {path!r} is no path: it starts with /")
    loaded = load_of_stack(open_of_stack(policies, profile, state_dir), ())
    start = gateway or (_EDGE if _EDGE in loaded else next(iter(loaded)))
    try:
        explanation = explained(loaded, method.upper(), path, start, listener)
    except CannotExplainError as error:
        fail(f"error: {error}")
    if output is OutputFormat.TABLE:
        print_explanation(explanation.as_record())
    else:
        print_value(explanation.as_record(), output)
    sys.stdout.flush()
    raise SystemExit(ANSWER_NO if explanation.refused else 0)
