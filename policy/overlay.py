"""Overlays: what a profile (a laptop, staging, production) changes of the gateways' files.

Maps merge key by key; lists and scalars replace; `null` takes a key away. Every value keeps the place where it is
written, so that an error in an overlay is shown in the overlay.
"""

from collections.abc import Mapping

from pydantic import Field, JsonValue

from policy.kinds import Model, Name, Text
from policy.problem import FieldPath
from policy.yaml_nodes import Entry, Node


class Overlay(Model):
    """The shape of an overlay's file."""

    profile: Name
    description: Text | None = None
    only_existing: bool = Field(
        False, description="Change what a gateway has and add nothing: a name that is gone from its file stays gone."
    )
    everywhere: Mapping[str, JsonValue] = Field(
        default_factory=dict, alias="all", description="Merged into every gateway, ahead of `gateways`."
    )
    gateways: Mapping[str, Mapping[str, JsonValue]] = Field(
        default_factory=dict, description="Gateway -> what is merged into it alone."
    )


def merge(base: Node, over: Node, *, only_existing: bool = False) -> Node:
    """`base` with everything that `over` says; neither is changed. `only_existing` leaves out what `base` has not."""
    if not isinstance(base.content, dict) or not isinstance(over.content, dict):
        return over
    merged = dict(base.content)
    for key, entry in over.content.items():
        if _deletes(entry):
            merged.pop(key, None)
        elif (old := merged.get(key)) is not None:
            merged[key] = _merged_entry(old, entry, only_existing=only_existing)
        elif not only_existing:
            merged[key] = Entry(entry.key, _without_nulls(entry.value))
    return Node(merged, base.file, base.line, base.column, base.width, base.suspect or over.suspect)


def useless_deletions(base: Node | None, over: Node, path: FieldPath = ()) -> list[FieldPath]:
    """Paths of `over` whose `null` takes nothing away."""
    if not isinstance(over.content, dict):
        return []
    known = base.content if base is not None and isinstance(base.content, dict) else {}
    found: list[FieldPath] = []
    for key, entry in over.content.items():
        if _deletes(entry):
            found += [] if key in known else [(*path, key)]
        else:
            found += useless_deletions(known[key].value if key in known else None, entry.value, (*path, key))
    return found


def _deletes(entry: Entry) -> bool:
    # What could not be read has no content either; it says nothing about deletion.
    return entry.value.content is None and not entry.value.suspect


def _merged_entry(old: Entry, new: Entry, *, only_existing: bool) -> Entry:
    both_maps = isinstance(old.value.content, dict) and isinstance(new.value.content, dict)
    # The key of a merged map stays where the gateway's own file has it: most of its fields are there.
    if both_maps:
        return Entry(old.key, merge(old.value, new.value, only_existing=only_existing))
    return Entry(new.key, _without_nulls(new.value))


def _without_nulls(node: Node) -> Node:
    if not isinstance(node.content, dict):
        return node
    kept = {
        key: Entry(entry.key, _without_nulls(entry.value)) for key, entry in node.content.items() if not _deletes(entry)
    }
    return Node(kept, node.file, node.line, node.column, node.width, node.suspect)
