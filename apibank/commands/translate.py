"""`apibank policy translate`: what Envoys would be sent, in the words of Envoy's own pages."""

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from apibank.commands.options import Policies, Profile, StateDir
from apibank.commands.stack_policies import load_of_stack, open_of_stack
from apibank.output import OutputFormat, fail, print_value

if TYPE_CHECKING:
    from apibank.translation import Translated

_TYPES = ("CDS", "EDS", "LDS", "RDS", "SDS")


def register(app: typer.Typer) -> None:
    """Add the command to `apibank policy`."""
    app.command("translate", short_help="Print what Envoys would be sent.")(translate)


def translate(
    gateways: Annotated[list[str] | None, typer.Argument(help="Only these gateways; all where none is named.")] = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="|".join(_TYPES), help="Only this type; may be given several times."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Only resources of this name; * stands for anything.")] = "*",
    policies: Policies = None,
    profile: Profile = None,
    output: Annotated[
        OutputFormat, typer.Option("-o", "--output", help="yaml: resources to paste; json: with what is known of each.")
    ] = OutputFormat.YAML,
    state_dir: StateDir = None,
) -> None:
    """Print the resources that the control plane would send to Envoys; private keys are redacted.

    The YAML is a list that Envoy takes, with the version and the place in the policy above each resource; JSON has them
    in fields. Without --policies and --profile, those of the stack that runs here, else the shipped ones.

    Example: apibank policy translate marketing --type RDS
    """
    from apibank.translation import translated, written

    wanted = _wanted_types(types)
    folder = open_of_stack(policies, profile, state_dir)
    found = [
        one
        for loaded in load_of_stack(folder, gateways or ()).values()
        for one in translated(loaded, wanted, lambda resource: fnmatchcase(resource, name))
    ]
    if not found:
        of_type = f" of type {', '.join(sorted(wanted))}" if types else ""
        fail(f"error: there is no resource{of_type}{'' if name == '*' else f' with the name {name}'}")
    if output is OutputFormat.JSON:
        print_value([one.as_record() for one in found], output)
    else:
        sys.stdout.write("\n".join(map(written, found)))
    _say_what_is_not_here(found)


def _wanted_types(types: list[str] | None) -> frozenset[str]:
    wanted = frozenset(one.upper() for one in types or _TYPES)
    if unknown := sorted(wanted.difference(_TYPES)):
        fail(f"error: --type {unknown[0]} is not one of {', '.join(_TYPES)}")
    return wanted


def _say_what_is_not_here(found: "list[Translated]") -> None:
    missing = sorted({file for one in found for file in one.missing})
    if missing:
        sys.stderr.write(f"note: placeholders stand for certificates that cannot be read here: {', '.join(missing)}\n")
