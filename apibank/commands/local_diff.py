"""`apibank policy diff` between files, without a control plane."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from apibank.commands.options import no_such_gateway
from apibank.commands.policies import open_folder
from apibank.output import fail
from apibank.settings import Settings

if TYPE_CHECKING:
    from apibank.policies import PolicyFolder


def local_diff(settings: Settings, names: tuple[str, ...], against: str, resources: bool) -> dict[str, Any]:
    """The files under their overlays, against the same without overlays (`plain`), or a folder under the same ones.

    The form is that of the control API. Ends the command where something cannot be read.
    """
    from apibank.policies import PolicyFolder
    from policy.problem import PolicyError

    if resources:
        fail("error: --resources needs --against live: what Envoys get holds certificates, which only it has")
    new = open_folder(settings, names or None, linted=False)
    if missing := [name for name in names if name not in new.names()]:
        fail(no_such_gateway(missing[0], new.folder, open_folder(settings, linted=False).names()))
    try:
        if against == "plain":
            old = PolicyFolder(new.folder, (), names or None, linted=False)
        else:
            old = PolicyFolder(Path(against), settings.profile, names or None, linted=False)
        return {"gateways": [_difference(old, new, name) for name in new.names()], "warnings": []}
    except PolicyError as error:
        fail(str(error))
    except OSError as error:
        fail(f"error: {error}")


def _difference(old: "PolicyFolder", new: "PolicyFolder", name: str) -> dict[str, Any]:
    from apibank.policy_diff import policy_changes

    after = new.load_one(name)
    before = old.load_one(name).gateway if name in old.names() else None
    return {
        "gateway": name,
        "live": None if before is None else before.version,
        "version": after.gateway.version,
        "changes": policy_changes(before, after.gateway, after.positions),
    }
