"""Usage and requests of whoever visits the portal, and of nobody else."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from apibank.developer.trusted import Policies
from policy.descriptors import CALLER_PARTNER, CALLER_SUBJECT, CALLER_TENANT
from portal.developer.browser import Refusal, Visit
from portal.developer.limits import concerned
from portal.developer.person import Person
from portal.developer.requests import EDGE, Filters, Logged
from portal.developer.usage import Period, Tally, UsageShown
from records.errors import LOST_DATABASE
from records.request_log import RequestLog, Wanted
from records.usage import Usage
from telemetry.access_log.histogram import Histogram, merged, quantile

_KEYS: Final = "your keys"
_TOKENS: Final = "your tokens"
_ORGANIZATION: Final = "your organization's tokens"

_Row = Mapping[str, Any]
_Texts = Mapping[tuple[Any, ...], Sequence[str]]


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

    def __init__(self, usage: Usage, pseudonym: Callable[[str], str]) -> None:
        """`pseudonym`: how the request log names a subject."""
        self._usage = usage
        self._pseudonym = pseudonym

    async def shown(self, visit: Visit, period: Period, now: float) -> UsageShown:
        """Everything since the first column began; the edge sees each request once."""
        since, until = period.starts(now)[0], int(now) + 1
        at_edge: list[_Row] = []
        beyond: list[_Row] = []
        texts: dict[tuple[Any, ...], list[str]] = {}
        callers = callers_of(visit.person, self._pseudonym)
        try:
            for rows, told in await asyncio.gather(*(self._of(caller, period, since, until) for caller in callers)):
                at_edge += [row for row in rows if row["gateway"] == EDGE]
                beyond += [row for row in rows if row["gateway"] != EDGE]
                for (start, *rest), some in told.items():
                    texts.setdefault((start - start % period.step, *rest), []).extend(some)
        except LOST_DATABASE:
            raise Refusal(503, "Usage is away", "It cannot be read now. Try again in a moment.") from None
        return _summed(at_edge, beyond, {key: added(some) for key, some in texts.items()}, callers)

    async def _of(self, caller: str, period: Period, since: int, until: int) -> tuple[Sequence[_Row], _Texts]:
        # Rows that have a caller are those of the scope `caller`: naming that too leads databases to another index.
        by = ("caller", "gateway", "route")
        rows = await self._usage.sums(since, until, (*by, "status"), step=period.step, caller=caller)
        return rows, await self._usage.histograms(since, until, ("start", *by), caller=caller)


def _summed(
    at_edge: Sequence[_Row],
    beyond: Sequence[_Row],
    durations: Mapping[tuple[Any, ...], Histogram],
    callers: Mapping[str, str],
) -> UsageShown:
    def times(wanted: Callable[[int, str, str, str], bool]) -> Histogram:
        return merged(one for key, one in durations.items() if wanted(*key))

    columns = {
        start: _tally(rows, times(lambda at, _, gateway, __, start=start: at == start and gateway == EDGE))  # type: ignore[misc]
        for (start,), rows in _grouped(at_edge, "start").items()
    }
    endpoints = [
        (gateway, route, _tally(rows, times(lambda _, __, g, r, is_=(gateway, route): (g, r) == is_)))  # type: ignore[misc]
        for (gateway, route), rows in _grouped(beyond, "gateway", "route").items()
    ]
    by_caller = _grouped(at_edge, "caller")
    return UsageShown(
        total=_tally(at_edge, times(lambda _, __, gateway, ___: gateway == EDGE)),
        columns=columns,
        endpoints=sorted(endpoints, key=lambda one: -one[2].requests),
        callers=[
            (words, _tally(by_caller.get((caller,), ()), times(lambda _, c, g, __, is_=caller: (c, g) == (is_, EDGE))))  # type: ignore[misc]
            for caller, words in callers.items()
        ],
    )


def added(texts: Iterable[str]) -> Histogram:
    """The sum of histograms that are kept as text: what `merged` of each would be, of a month's rows in time."""
    sums: dict[str, int] = {}
    for pair in " ".join(texts).split():
        index, _, count = pair.partition(":")
        sums[index] = sums.get(index, 0) + int(count)
    return {int(index): count for index, count in sums.items()}


def _grouped(rows: Iterable[_Row], *names: str) -> dict[tuple[Any, ...], list[_Row]]:
    groups: dict[tuple[Any, ...], list[_Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def _tally(rows: Iterable[_Row], durations: Histogram) -> Tally:
    good = client = server = 0
    for row in rows:
        count, status = int(row["requests"]), int(row["status"])
        if 400 <= status < 500:
            client += count
        elif status >= 500 or status == 0:
            server += count
        else:
            good += count
    return Tally(good, client, server, quantile(durations, 0.5), quantile(durations, 0.95))


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
        address=row["address"],
        details=row["details"],
    )
