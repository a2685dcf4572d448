"""Rules that replace each other in a circle: of a request that all of them apply to, none would count."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from policy.positions import Positions
from policy.problem import Diagnostic, FieldPath
from ratelimit.config_format import ConfigFile, ConfiguredDescriptor


@dataclass(frozen=True, slots=True)
class Replacement:
    """A rule called `name` that does away with those called `replaced`, and where its file says so."""

    name: str
    replaced: str
    positions: Positions
    at: FieldPath


def replacements_of(config: ConfigFile, positions: Positions) -> Iterator[Replacement]:
    """All of a file's, of rules that have a name: one without cannot be replaced in its turn."""
    waiting: list[tuple[FieldPath, ConfiguredDescriptor]] = [
        (("descriptors", index), one) for index, one in enumerate(config.descriptors)
    ]
    while waiting:
        at, one = waiting.pop()
        waiting += [((*at, "descriptors", index), below) for index, below in enumerate(one.descriptors)]
        limit = one.rate_limit
        if limit is None or not limit.name:
            continue
        for index, each in enumerate(limit.replaces):
            yield Replacement(limit.name, each.name, positions, (*at, "rate_limit", "replaces", index, "name"))


def circles(replacements: Sequence[Replacement]) -> list[Diagnostic]:
    """The first circle among a domain's rules, at one of its places."""
    leads_to: dict[str, set[str]] = defaultdict(set)
    for each in replacements:
        # Of itself alone, its own file is refused (config_format).
        if each.name != each.replaced:
            leads_to[each.name].add(each.replaced)
    try:
        TopologicalSorter(leads_to).prepare()
    except CycleError as error:
        # From a name to what leads to it, and so on, until the first again.
        circle = list(reversed(error.args[1]))
        one = next(each for each in replacements if (each.name, each.replaced) == (circle[0], circle[1]))
        message = f"these rules replace each other, so that none would count: {' -> '.join(circle)}"
        return [one.positions.diagnostic(one.at, message, expected="a rule that replaces none of them in its turn")]
    return []
