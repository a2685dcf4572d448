"""Whose audit there can be: a gateway that is misspelt has no rows, which is no news of one that is there."""

from typing import TYPE_CHECKING

from apibank.commands.audit_options import answered
from apibank.output import fail

if TYPE_CHECKING:
    from apibank.settings import Settings
    from records.audit_verify import Anchors

# What to say where nothing was found: most who look for a row look for one that nobody had to keep.
NO_ROWS = "no rows; a decision is one where its gateway's or route's policy says `audit: required`"


def must_be_there(settings: "Settings", gateway: str | None, anchors: "Anchors | None" = None) -> None:
    """Ends the command, naming the gateways, where one is asked for that has no policy, no rows and no anchor."""
    if gateway is None:
        return
    from portal.change_record import CHAIN

    # Files first: reading whose rows there are can take a while.
    known = _with_policies(settings) | {CHAIN} | (frozenset() if anchors is None else anchors.gateways())
    if gateway in known:
        return
    from records.audit_verify import AuditVerification

    known |= answered(settings, lambda opened: AuditVerification(opened).gateways())
    if gateway not in known:
        fail(f"error: there is no gateway {gateway!r}; there are: {', '.join(sorted(known))}")


def _with_policies(settings: "Settings") -> frozenset[str]:
    """The gateways of the stack that runs here; else of the folder that is set, or of the shipped one."""
    from pathlib import Path

    from apibank.policies import PolicyFolder, shipped
    from apibank.ready import StackNotRunningError, read_ready

    folder = settings.policies
    if folder is None:
        try:
            folder = Path(read_ready(settings.state_dir).policies)
        except StackNotRunningError:
            folder = shipped("gateways")
    try:
        return frozenset(PolicyFolder(folder, ()).names())
    except FileNotFoundError:
        return frozenset()
