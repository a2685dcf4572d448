"""Whether resources fit together, before an Envoy has them.

An Envoy accepts a route to a cluster that does not exist and answers 503; it waits for endpoints and secrets that
nobody sends. None of that is a NACK, so it has to be found here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xds.snapshot import ENDPOINT, ROUTE, SHORT_NAMES, Origin, Resource


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """One thing that does not fit, at the resource that is wrong."""

    type_url: str
    name: str
    origin: Origin | None
    what: str

    def __str__(self) -> str:
        where = f"{self.origin}: " if self.origin else ""
        return f"{where}{_short(self.type_url)} {self.name!r} {self.what}"


class InconsistentError(Exception):
    """Resources that do not fit together, with everything that is wrong."""

    def __init__(self, problems: Iterable[Inconsistency]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


# An Envoy asks for these by name, because something refers to them. A secret to spare harms nobody.
_ASKED_FOR = frozenset({ROUTE, ENDPOINT})


def inconsistencies(resources: Iterable[tuple[str, Resource]]) -> list[Inconsistency]:
    """Names that two resources of a type share, that nothing bears, or that nobody asks for; in no order."""
    resources = tuple(resources)
    problems = []
    known: set[tuple[str, str]] = set()
    for type_url, resource in resources:
        if (type_url, resource.name) in known:
            problems.append(_problem(type_url, resource, "exists twice"))
        known.add((type_url, resource.name))
    wanted = set()
    for type_url, resource in resources:
        for need in resource.needs:
            wanted.add(need)
            if need not in known:
                what = f"refers to {_short(need[0])} {need[1]!r}, which does not exist"
                problems.append(_problem(type_url, resource, what))
    for type_url, resource in resources:
        if type_url in _ASKED_FOR and (type_url, resource.name) not in wanted:
            problems.append(_problem(type_url, resource, "is referred to by nothing, so no Envoy would ask for it"))
    return problems


def _problem(type_url: str, resource: Resource, what: str) -> Inconsistency:
    return Inconsistency(type_url, resource.name, resource.origin, what)


def _short(type_url: str) -> str:
    return SHORT_NAMES.get(type_url, type_url)
