"""When a resource of a group last got another content."""

from __future__ import annotations

from xds.snapshot import Snapshot


class Updates:
    """Remembers what each group is served now, and nothing of former times."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[tuple[str, str], tuple[str, float]]] = {}

    def note(self, group: str, snapshot: Snapshot, now: float) -> None:
        """The group is served this from `now` on, in seconds since 1970."""
        before = self._groups.get(group, {})
        after = {}
        for type_url, resource in snapshot:
            unit = type_url, resource.name
            known = before.get(unit)
            after[unit] = known if known and known[0] == resource.version else (resource.version, now)
        self._groups[group] = after

    def at(self, group: str, type_url: str, name: str, version: str) -> float | None:
        """When the group began to be served this version; None for one that is not what it is served."""
        known = self._groups.get(group, {}).get((type_url, name))
        return known[1] if known and known[0] == version else None
