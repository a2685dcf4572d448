"""Take refused resources out of a snapshot, and with them what cannot stand without: the rest is to be published."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, Origin, Resource, Snapshot

Unit = tuple[str, str]
"""A type URL and a name: the least that is rolled back."""

# Nothing asks for one of these that nothing refers to, and the consistency check says so.
_ASKED_FOR: Final = frozenset({ROUTE, ENDPOINT})


@dataclass(frozen=True, slots=True)
class RolledBack:
    """A resource that is withheld from its group because proxies refused this version of it.

    `served` is the version that is served in its place, None where there is none. `message` is the refusal in a
    proxy's words, `origin` the place in the policy, `nodes` the ids of those that refused.
    """

    type_url: str
    name: str
    refused: str
    served: str | None
    message: str
    origin: Origin | None
    nodes: tuple[str, ...]


def without_refused(intended: Snapshot, refused: Mapping[Unit, str], proven: Snapshot | None) -> Snapshot:
    """What to publish of `intended` when the proxies have refused these units at these versions.

    A refused unit gets its proven content, or is left out where there is none. What needs something that is then
    missing goes back too, and what the returning content needs comes back with it; all else stays as intended. With
    `intended` and `proven` consistent the result is consistent. It never lacks listeners altogether unless `intended`
    does, or nothing proven has any: an Envoy without a listener serves nobody. Unchanged, it is `intended` itself.
    """
    hit = {unit for unit, version in refused.items() if _holds(intended, unit, version)}
    if not hit:
        return intended
    mix = _Mix({(type_url, each.name): each for type_url, each in intended}, _standing(proven, refused))
    mix.give_up(hit)
    if LISTENER in intended.resources and not mix.has(LISTENER):
        mix.take_back({unit for unit in mix.proven if unit[0] == LISTENER})
    mix.drop_orphans()
    return Snapshot.of((type_url, resource) for (type_url, _), resource in mix.chosen.items())


class _Mix:
    """A choice between two contents for every unit. It moves from intended to proven to none, and never back."""

    def __init__(self, intended: Mapping[Unit, Resource], proven: Mapping[Unit, Resource]) -> None:
        self.proven = proven
        self.chosen = dict(intended)
        self._needed_by: dict[Unit, set[Unit]] = {}
        for unit, resource in intended.items():
            for need in resource.needs:
                self._needed_by.setdefault(need, set()).add(unit)

    def has(self, type_url: str) -> bool:
        return any(unit[0] == type_url for unit in self.chosen)

    def give_up(self, units: set[Unit]) -> None:
        """Their intended content, and that of all that then needs something missing."""
        left = deque(sorted(units))
        while left:
            unit = left.popleft()
            if unit in self.proven:
                self.take_back({unit})
            elif self.chosen.pop(unit, None) is not None:
                left.extend(
                    other
                    for other in sorted(self._needed_by.get(unit, ()))
                    if other in self.chosen and unit in self.chosen[other].needs
                )

    def take_back(self, units: set[Unit]) -> None:
        """Their proven content, and that of all it needs that is not there."""
        left = deque(sorted(units))
        while left:
            unit = left.popleft()
            self.chosen[unit] = self.proven[unit]
            needs = _needs(unit, self.proven[unit])
            left.extend(need for need in needs if need not in self.chosen and need in self.proven)

    def drop_orphans(self) -> None:
        """Routes and endpoints that only what has gone referred to, until there are none.

        Where resources do not say what they need, nothing was referred to before, and nothing goes.
        """
        before = self._needed_by.keys() | {need for resource in self.proven.values() for need in resource.needs}
        while True:
            wanted = {need for resource in self.chosen.values() for need in resource.needs}
            orphans = [unit for unit in self.chosen if unit[0] in _ASKED_FOR and unit in before and unit not in wanted]
            if not orphans:
                return
            for unit in orphans:
                del self.chosen[unit]


def _holds(snapshot: Snapshot, unit: Unit, version: str) -> bool:
    resource = snapshot.resources.get(unit[0], {}).get(unit[1])
    return resource is not None and resource.version == version


def _needs(unit: Unit, resource: Resource) -> tuple[Unit, ...]:
    if unit[0] == CLUSTER and not resource.needs:
        # Nobody said what the cluster refers to: its endpoints, if any, have its name.
        return ((ENDPOINT, resource.name),)
    return resource.needs


def _standing(proven: Snapshot | None, refused: Mapping[Unit, str]) -> dict[Unit, Resource]:
    """The proven units without those that are refused themselves, and without what needs these."""
    units = {(type_url, resource.name): resource for type_url, resource in proven or ()}
    lost = {unit for unit, resource in units.items() if refused.get(unit) == resource.version}
    while lost:
        for unit in lost:
            del units[unit]
        lost = {unit for unit, resource in units.items() if not lost.isdisjoint(resource.needs)}
    return units
