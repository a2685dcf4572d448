"""The policies of the stack that runs here, or those that a command's options name."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from apibank.commands.options import no_such_gateway, settings_of
from apibank.output import fail

if TYPE_CHECKING:
    from apibank.policies import PolicyFolder
    from policy.load import Loaded
    from policy.model import Gateway


def open_of_stack(policies: Path | None, profile: list[str] | None, state_dir: Path | None) -> "PolicyFolder":
    """The folder and profiles of the running stack, where neither an option nor a variable names others.

    Ends the command where they are not there.
    """
    from apibank.commands.policies import open_folder
    from apibank.ready import StackNotRunningError, read_ready

    settings = settings_of(policies=policies, profile=profile, state_dir=state_dir)
    if settings.policies is None and not settings.profile:
        try:
            ready = read_ready(settings.state_dir)
        except StackNotRunningError:
            return open_folder(settings, linted=False)
        sys.stderr.write(f"note: policies and profiles are those of the stack in {settings.state_dir}\n")
        settings = settings_of(policies=Path(ready.policies), profile=ready.profiles, state_dir=state_dir)
    return open_folder(settings, linted=False)


def load_of_stack(folder: "PolicyFolder", wanted: Sequence[str]) -> Mapping[str, "Loaded[Gateway]"]:
    """The gateways that are wanted, or all. Ends the command where one is not there, or is not good."""
    from policy.problem import PolicyError

    names = folder.names()
    if unknown := [name for name in wanted if name not in names]:
        fail(no_such_gateway(unknown[0], folder.folder, names))
    if not names:
        fail(f"error: there is no gateway file in {folder.folder}")
    try:
        return {name: folder.load_one(name) for name in wanted or names}
    except PolicyError as error:
        fail(str(error))
    except OSError as error:
        fail(f"error: {error}")
