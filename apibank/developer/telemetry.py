"""Usage and requests of whoever visits the portal, and of nobody else."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from apibank.developer.trusted import Policies
from policy.descriptors import CALLER_PARTNER, CALLER_SUBJECT, CALLER_TENANT
from portal.developer.browser import Refusal, Visit
from portal.developer.limits import concerned
from portal.developer.person import Person
from portal.developer.requests import EDGE, Filters, Logged
from portal.developer.usage import Period, Tally, UsageShown
from records.caller_usage import CallerUsage, usage_of_caller
from records.database import Database
from records.errors import LOST_DATABASE
from records.request_log import RequestLog, Wanted
from telemetry.access_log.histogram import Histogram, from_text, merged

_KEYS: Final = "your keys"
_TOKENS: Final = "your tokens"
_ORGANIZATION: Final = "your organization's tokens"

_Row = Mapping[str, Any]


def callers_of(person: Person, pseudonym: Callable[[str], str]) -> Mapping[str, str]:
    """As whom a person's requests are told of, each with its words."""
    callers: dict[str, str] = {}
    if person.partner is not None:
        callers[CALLER_PARTNER + person.partner] = _KEYS
    if person.tenant is not None:
        callers[CALLER_TENANT + person.tenant] = _ORGANIZATION
    else:
        callers[CALLER_SUBJECT + pseudonym(person.subject)] = _TOKENS
    return callers


class UsageBoard:
    """The portal's port `OwnUsage`."""

    def __init__(self, database: Database, pseudonym: Callable[[str], str]) -> None:
        """`pseudonym`: how the request log names a subject."""
        self._database = database
        self._pseudonym = pseudonym

    async def shown(self, visit: Visit, period: Period, now: float) -> UsageShown:
        """Everything since the first column began; the edge sees each request once."""
        since, until = period.starts(now)[0], int(now) + 1
        callers = callers_of(visit.person, self._pseudonym)
        asked = (usage_of_caller(self._database, caller, since, until, period.step) for caller in callers)
        try:
            found = dict(zip(callers.values(), await asyncio.gather(*asked), strict=True))
        except LOST_DATABASE:
            raise Refusal(503, "Usage is away", "It cannot be read now. Try again in a moment.") from None
        told = [_Told(words, one, from_text(one.histograms)) for words, rows in found.items() for one in rows]
        at_edge = [one for one in told if one.row.gateway == EDGE]
        beyond = _grouped(
            [one for one in told if one.row.gateway != EDGE], lambda one: (one.row.gateway, one.row.route)
        )
        endpoints = [(gateway, route, _tally(some)) for (gateway, route), some in beyond.items()]
        return UsageShown(
            total=_tally(at_edge),
            columns={start: _tally(some) for start, some in _grouped(at_edge, lambda one: one.row.start).items()},
            endpoints=sorted(endpoints, key=lambda one: -one[2].requests),
            callers=[(words, _tally([one for one in at_edge if one.whose == words])) for words in callers.values()],
            keys=sorted(
                ((key, _tally(some)) for key, some in _grouped(at_edge, lambda one: one.row.credential).items() if key),
                key=lambda one: -one[1].requests,
            ),
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """A row with its durations, read once."""

    whose: str
    row: CallerUsage
    durations: Histogram


_Name = TypeVar("_Name")


def _grouped(told: Iterable[_Told], by: Callable[[_Told], _Name]) -> dict[_Name, list[_Told]]:
    groups: dict[_Name, list[_Told]] = {}
    for one in told:
        groups.setdefault(by(one), []).append(one)
    return groups


def _tally(told: Sequence[_Told]) -> Tally:
    return Tally.of(((one.row.status, one.row.requests) for one in told), merged(one.durations for one in told))


class RequestShelf:
    """The portal's port `OwnRequests`."""

    def __init__(self, log: RequestLog, policies: Policies, pseudonym: Callable[[str], str]) -> None:
        self._log = log
        self._policies = policies
        self._pseudonym = pseudonym

    def gateways(self, visit: Visit) -> Sequence[str]:
        return concerned(self._policies(), visit.person)

    async def find(self, visit: Visit, filters: Filters, count: int) -> Sequence[Logged]:
        """The newest of the visitor's requests that meet the filters."""
        callers = callers_of(visit.person, self._pseudonym)
        found: list[_Row] = []
        try:
            for caller in callers:
                wanted = Wanted(
                    caller=caller,
                    gateway=filters.wanted_gateway,
                    status=int(filters.status) if filters.status else None,
                    request_id=filters.request_id or None,
                    credential=filters.key or None,
                    before=int(filters.before) if filters.before else None,
                )
                found += await self._log.find(wanted, count)
        except LOST_DATABASE:
            raise Refusal(503, "Requests are away", "They cannot be read now. Try again in a moment.") from None
        found.sort(key=lambda row: -int(row["id"]))
        return [_logged(row, callers[row["caller"]]) for row in found[:count]]


def _logged(row: _Row, whose: str) -> Logged:
    return Logged(
        row=row["id"],
        at=datetime.fromtimestamp(row["at"], UTC),
        gateway=row["gateway"],
        method=row["method"],
        path=row["path"],
        status=row["status"],
        milliseconds=row["duration"],
        request_id=row["request_id"],
        whose=whose,
        key=row["credential"],
        address=row["address"],
        details=row["details"],
    )
