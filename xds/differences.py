"""What has changed between two snapshots of a node group, resource by resource."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from xds.snapshot import PUSH_ORDER, SHORT_NAMES, Origin, Snapshot


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """One resource that proxies will be sent, or told to drop. Versions are digests, None where there is none."""

    type_url: str
    name: str
    op: Literal["added", "removed", "changed"]
    before: str | None
    after: str | None
    origin: Origin | None

    def as_record(self) -> dict[str, str | int | None]:
        """The same for programs."""
        return {
            "type": SHORT_NAMES[self.type_url],
            "name": self.name,
            "op": self.op,
            "before": self.before,
            "after": self.after,
            "file": self.origin.file if self.origin else None,
            "line": self.origin.line if self.origin else None,
        }


def resource_changes(old: Snapshot | None, new: Snapshot) -> tuple[ResourceChange, ...]:
    """In the order in which proxies are sent them; without `old` everything is added."""
    return tuple(_changes(old, new))


def _changes(old: Snapshot | None, new: Snapshot) -> Iterator[ResourceChange]:
    for type_url in PUSH_ORDER:
        before = {} if old is None else old.of_type(type_url).resources
        after = new.of_type(type_url).resources
        for name in sorted(before.keys() | after.keys()):
            was, now = before.get(name), after.get(name)
            if was is None and now is not None:
                yield ResourceChange(type_url, name, "added", None, now.version, now.origin)
            elif was is not None and now is None:
                yield ResourceChange(type_url, name, "removed", was.version, None, was.origin)
            elif was is not None and now is not None and was.version != now.version:
                yield ResourceChange(type_url, name, "changed", was.version, now.version, now.origin)
