"""All that is kept of a gateway, decided again by a candidate: how often what would change, and an example of each."""

from collections.abc import Iterable
from dataclasses import dataclass

from apibank.hops import Record
from authz.replay import Change, replayed
from authz.rules import compile_rules
from authz.samples import Sample
from policy.model import Gateway


@dataclass(slots=True)
class _Group:
    count: int
    example: Record


@dataclass(frozen=True, slots=True)
class Report:
    """What would change. `changes`: by change, route and reasons, those that refuse first, then the most frequent."""

    gateway: str
    version: str
    replayed: int
    unchanged: int
    since: float | None
    until: float | None
    changes: tuple[Record, ...]

    @property
    def refuses(self) -> bool:
        """Whether anything would be refused that was admitted."""
        return any(one["change"] == Change.NEWLY_REFUSED.value for one in self.changes)

    def as_record(self) -> Record:
        return {
            "gateway": self.gateway,
            "version": self.version,
            "replayed": self.replayed,
            "unchanged": self.unchanged,
            "since": self.since,
            "until": self.until,
            "refuses": self.refuses,
            "changes": list(self.changes),
        }


_ORDER = tuple(Change)


def replay_all(gateway: Gateway, samples: Iterable[Sample]) -> Report:
    """The samples under a candidate. Raises PolicyUnusableError."""
    rules = compile_rules(gateway)
    groups: dict[tuple[Change, str, str, str], _Group] = {}
    count = unchanged = 0
    times: list[float] = []
    for sample in samples:
        count += 1
        times = [min(times[0], sample.at), max(times[1], sample.at)] if times else [sample.at, sample.at]
        found = replayed(sample, gateway, rules)
        if found.change is Change.NONE:
            unchanged += 1
            continue
        example: Record = {"at": sample.at, "method": sample.method, "path": sample.path, "policy": sample.policy}
        key = (found.change, found.route, found.before, found.after)
        groups.setdefault(key, _Group(0, example)).count += 1
    ranked = sorted(groups.items(), key=lambda item: (_ORDER.index(item[0][0]), -item[1].count, item[0]))
    changes = tuple(_told(key, group) for key, group in ranked)
    since, until = times or (None, None)
    return Report(gateway.gateway, gateway.version, count, unchanged, since, until, changes)


def _told(key: tuple[Change, str, str, str], group: _Group) -> Record:
    change, route, before, after = key
    return {
        "change": change.value,
        "route": route,
        "before": before,
        "after": after,
        "count": group.count,
        "example": group.example,
    }
