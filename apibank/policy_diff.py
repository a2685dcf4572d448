"""What one policy changes of another, part by part, and which resources that touches: as records, for people."""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from policy.model import Gateway
from policy.problem import FieldPath, Position, written
from xds.snapshot import SHORT_NAMES, Snapshot

Record = Mapping[str, object]
# A route, an upstream, a limit: what has a name of its own is compared field by field, and no deeper.
_DEEPEST: Final = 3
_NAMED: Final = 2


class Places(Protocol):
    """Where the parts of a policy are written."""

    def nearest(self, path: FieldPath) -> Position:
        """The place of the path, or of the innermost part of it that is written."""


def policy_changes(old: Gateway | None, new: Gateway, places: Places) -> list[Record]:
    """Each part that was added, removed or changed, with its place in the new policy's files.

    `path` is as people write it, `parts` the same as a list; `before` and `after` are None where there is nothing.
    """
    before = {} if old is None else old.model_dump(mode="json", exclude_defaults=True)
    after = new.model_dump(mode="json", exclude_defaults=True)
    return [_change(path, left, right, places) for path, left, right in _differences((), before, after)]


def resource_changes(old: Snapshot | None, new: Snapshot) -> list[Record]:
    """Each resource that was added, removed or changed, with its versions before and after."""
    before = _versions(old)
    after = _versions(new)
    return [
        {
            "op": _op(before.get(unit), after.get(unit)),
            "type": SHORT_NAMES.get(unit[0], unit[0]),
            "name": unit[1],
            "before": before.get(unit),
            "after": after.get(unit),
        }
        for unit in sorted(before.keys() | after.keys(), key=_pushed)
        if before.get(unit) != after.get(unit)
    ]


def _differences(path: FieldPath, before: object, after: object) -> Iterator[tuple[FieldPath, object, object]]:
    if before == after:
        return
    left, right = _fields(before), _fields(after)
    # Of a whole that came or went, people want to read its name and what it is, and not field by field.
    deepest = _NAMED if before is None or after is None else _DEEPEST
    if left is None or right is None or len(path) >= deepest:
        yield path, before, after
        return
    # In the order of the files; what is gone comes last.
    for name in dict.fromkeys((*right, *left)):
        yield from _differences((*path, name), left.get(name), right.get(name))


def _fields(value: object) -> dict[str, object] | None:
    """Of a map, or of nothing; None for what is no map."""
    return value if isinstance(value, dict) else {} if value is None else None


def _change(path: FieldPath, before: object, after: object, places: Places) -> Record:
    place = places.nearest(path)
    return {
        "path": written(path),
        "parts": list(path),
        "op": _op(before, after),
        "before": before,
        "after": after,
        "file": place.file,
        "line": place.line,
    }


def _op(before: object, after: object) -> str:
    if before is None:
        return "added"
    return "removed" if after is None else "changed"


def _versions(snapshot: Snapshot | None) -> dict[tuple[str, str], str]:
    return {} if snapshot is None else {(type_url, each.name): each.version for type_url, each in snapshot}


def _pushed(unit: tuple[str, str]) -> tuple[int, str]:
    """Resources in the order in which they are sent."""
    order = list(SHORT_NAMES)
    return (order.index(unit[0]) if unit[0] in order else len(order), unit[1])
