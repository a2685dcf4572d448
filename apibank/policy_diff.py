"""What one policy changes of another, as records for the control API and for commands."""

from collections.abc import Mapping

from policy.differences import differences
from policy.model import Gateway
from policy.positions import Positions
from policy.problem import written

Record = Mapping[str, object]


def policy_changes(old: Gateway | None, new: Gateway, positions: Positions) -> list[Record]:
    """Each difference with its place in the new policy's files.

    `path` is as people write it, `parts` the same as a list; `before` and `after` are None where there is nothing.
    """
    return [
        {
            "path": written(one.path),
            "parts": list(one.path),
            "op": one.op.value,
            "before": one.before,
            "after": one.after,
            "file": one.position.file if one.position else None,
            "line": one.position.line if one.position else None,
        }
        for one in differences(old, new, positions)
    ]
