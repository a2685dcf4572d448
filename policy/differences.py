"""What has changed between two policies of a gateway, field by field, in the words of the file."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pydantic import JsonValue

from policy.model import Gateway
from policy.positions import Positions
from policy.problem import FieldPath, Position


class Op(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


class _Absent:
    """A field that is not there, which is something else than null."""


_ABSENT: Final = _Absent()


@dataclass(frozen=True, slots=True)
class Change:
    """One field that differs. `before` and `after` are plain JSON, None where the field is not there.

    `position` is the place of the field in the new file; of what is gone, that of the part that it was in.
    """

    path: FieldPath
    op: Op
    before: JsonValue
    after: JsonValue
    position: Position | None


def differences(old: Gateway | None, new: Gateway, positions: Positions | None = None) -> tuple[Change, ...]:
    """Every field in which the policies differ, by path; maps are compared key by key, lists as a whole.

    What a file spells out and what is so by default are the same. Without `old` everything is added.
    """
    before = {} if old is None else old.model_dump(mode="json", exclude_defaults=True)
    after = new.model_dump(mode="json", exclude_defaults=True)
    return tuple(_changes((), before, after, positions))


def _changes(
    path: FieldPath, before: JsonValue | _Absent, after: JsonValue | _Absent, positions: Positions | None
) -> Iterator[Change]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            yield from _changes((*path, key), before.get(key, _ABSENT), after.get(key, _ABSENT), positions)
        return
    if isinstance(before, _Absent):
        op = Op.ADDED
    elif isinstance(after, _Absent):
        op = Op.REMOVED
    elif before == after:
        return
    else:
        op = Op.CHANGED
    yield Change(
        path,
        op,
        None if isinstance(before, _Absent) else before,
        None if isinstance(after, _Absent) else after,
        None if positions is None else positions.nearest(path),
    )
