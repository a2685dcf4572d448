"""What a draft would change, for the control API: the policy first, the resources where they are asked for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson
from pydantic import BaseModel

from apibank.control_plane import ControlPlane
from apibank.rollouts import Draft
from policy.problem import written

if TYPE_CHECKING:
    from policy.differences import Change


def difference_record(control: ControlPlane, draft: Draft, resources: bool) -> Mapping[str, object]:
    """Against what is published now."""
    from policy.differences import differences
    from xds.differences import resource_changes

    state = control.states.get(draft.gateway)
    live = None if state is None else state.gateway
    record: dict[str, object] = {
        "gateway": draft.gateway,
        "live": None if live is None else live.version,
        "version": draft.version,
        "changes": [change_record(one) for one in differences(live, draft.loaded.gateway, draft.loaded.positions)],
    }
    if resources:
        changes = resource_changes(control.publisher.intended(draft.gateway), draft.snapshot)
        record["resources"] = [one.as_record() for one in changes]
    return record


def change_record(one: "Change") -> dict[str, object]:
    """One difference, with its place in the new file."""
    return {
        "path": one.path if isinstance(one.path, str) else written(one.path),
        "op": str(one.op),
        "before": shown(one.before),
        "after": shown(one.after),
        "file": one.position.file if one.position else None,
        "line": one.position.line if one.position else None,
    }


def shown(value: object) -> object:
    """A part of a policy as JSON has it."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return orjson.loads(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS))


def _plain(value: object) -> object:
    return value.model_dump(mode="json", exclude_defaults=True) if isinstance(value, BaseModel) else str(value)
