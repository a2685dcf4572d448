"""The limits of whoever visits the portal, asked of the processes that count (docs/adr/0033)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, cast

from apibank.developer.trusted import Policies
from apibank.published import Published
from apibank.usage.desk import Ask, LimitDesk
from apibank.usage.wire import ask
from policy.kinds import Tier
from portal.developer.browser import Visit
from portal.developer.limits import Left, LimitShown, LimitsShown, concerned
from portal.developer.person import Person
from portal.limits_api import Record, UsageQuestion
from portal.problems import Refused

_KEYS: Final = "your keys"
_TOKEN: Final = "your token"  # noqa: S105 whose it is
_ORGANIZATION: Final = "your organization's tokens"


class _InForce(Mapping[str, Published]):
    """The policies as the desk takes them."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def __getitem__(self, name: str) -> Published:
        return Published(gateway=self._policies()[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._policies())

    def __len__(self) -> int:
        return len(self._policies())


class LimitBoard:
    """The portal's port `OwnLimits`."""

    def __init__(self, policies: Policies, ask: Ask = ask) -> None:
        self._policies = policies
        self._desk = LimitDesk(_InForce(policies), ask)

    async def shown(self, visit: Visit) -> LimitsShown:
        """Every limit that the visitor meets, with what is left of those that count the visitor."""
        person = visit.person
        names = concerned(self._policies(), person)
        left: dict[tuple[str, str], list[Left]] = {}
        silent: dict[str, None] = {}
        for whose, question in _questions(person):
            try:
                answer = await self._desk.usage(question)
            except Refused:
                silent |= dict.fromkeys(names)
                continue
            silent |= {str(one["gateway"]): None for one in cast("Sequence[Record]", answer["unanswered"])}
            for row in cast("Sequence[Record]", answer["usage"]):
                if row["counted_as"] is not None:
                    left.setdefault((str(row["gateway"]), str(row["limit"])), []).append(_left(whose, row))
        records = [one for one in await self._desk.limits(None) if one["gateway"] in names and one["routes"]]
        shown = [_shown(one, person, left.get((str(one["gateway"]), str(one["limit"])), ())) for one in records]
        return LimitsShown(shown, [name for name in silent if name in names])

    async def of_partner(self, partner: str) -> Sequence[Record]:
        """A partner's limits with what is left of each. Raises LookupError where nobody knows now."""
        try:
            answer = await self._desk.usage(UsageQuestion(partner=partner, tier=None))
        except Refused as error:
            raise LookupError(str(error)) from None
        return cast("Sequence[Record]", answer["usage"])


def _questions(person: Person) -> Iterator[tuple[str, UsageQuestion]]:
    """Whose counters a person's requests are charged to: those of the keys, and those of the tokens."""
    tier = Tier(person.tier) if person.tier in set(Tier) else None
    if person.partner is not None:
        yield _KEYS, UsageQuestion(partner=person.partner, tier=tier)
    if person.tenant is not None:
        yield _ORGANIZATION, UsageQuestion(tenant=person.tenant, tier=tier)
    else:
        yield _TOKEN, UsageQuestion(subject=person.subject, tier=tier)


def _left(whose: str, row: Record) -> Left:
    retry = row["retry_after_seconds"]
    figure, remaining = row["figure"], row["remaining"]
    return Left(
        whose=whose,
        figure=figure if isinstance(figure, int) else None,
        remaining=remaining if isinstance(remaining, int) else None,
        full=figure if isinstance(figure, int) else None,
        passes=retry == 0.0,
        seconds=float(cast("float", row["reset_seconds"])),
    )


def _shown(record: Record, person: Person, left: Sequence[Left]) -> LimitShown:
    figures = cast("Mapping[str, int | None]", record["figures"])
    at_once = cast("Mapping[str, int] | None", record["at_once"]) or {}
    # What was said by who counts goes first: tenants and partners may have figures of their own.
    own = figures.get(person.tier, figures.get("all"))
    figure = left[0].figure if left else own
    lent = at_once.get(person.tier, at_once.get("all"))
    if lent is not None and own:
        left = [replace(one, full=one.figure and max(lent * one.figure // own, 1)) for one in left]
    return LimitShown(
        gateway=str(record["gateway"]),
        name=str(record["limit"]),
        description=str(record["description"] or ""),
        per=str(record["per"]),
        figure=figure,
        unit=str(record["unit"]),
        at_once=lent,
        shadow=bool(record["shadow"]),
        routes=tuple(cast("Sequence[str]", record["routes"])),
        left=tuple(left),
    )
